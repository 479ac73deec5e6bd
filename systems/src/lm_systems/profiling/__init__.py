"""Measuring: where the time goes."""
