"""One way to divide the graph."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """One way to divide the graph: the edge computes the ancestors of these tensors, the cloud the rest.

    A graph input that the cloud needs crosses like any other tensor, so cloud-only is the cut whose
    crossing tensors are the inputs, and edge-only the cut with no crossing tensor.
    """

    name: str
    crossing: tuple[str, ...]
    edge_outputs: tuple[str, ...] = ()
    """Graph outputs that the edge computes."""
    cloud: str = ""
    """Key in the store of the program that its cloud half is, which then makes all graph outputs; empty:
    the cloud half is the rest of this program."""
    encodings: tuple[str, ...] = ()
    """How each crossing tensor is sent (`Encoding.name`); empty: all as they are held."""
