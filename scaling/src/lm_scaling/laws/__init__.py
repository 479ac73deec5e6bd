"""Scaling laws: what a table of finished runs says about runs that nobody has paid for yet."""
