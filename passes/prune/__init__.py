"""Whole channels removed, and the weights that are left refitted."""
