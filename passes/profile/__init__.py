"""Costs of every fusion group on both targets: measured where the target is at hand, else predicted."""
