"""Placeholder docstring: say what this room holds."""
