"""Fewer bits for weights and activations, where the target gains by it and the outputs bear it."""
