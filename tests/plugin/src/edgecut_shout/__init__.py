"""A third-party pass."""
