"""Tools for those who change this code."""
