"""Conversion of page bodies to text."""
