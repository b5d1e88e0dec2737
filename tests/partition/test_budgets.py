"""Budgets and the bottleneck objective against brute force, on random graphs."""
