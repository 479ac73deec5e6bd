"""Filters: each looks at one document and says whether it stays, and why not."""
