"""Passes: each reads a program and gives back a program. `edgecut.passes.base` is their contract."""
