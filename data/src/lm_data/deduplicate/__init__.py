"""Deduplication: the only steps that look at more than one document."""
