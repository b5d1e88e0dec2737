"""The cut as arrays: groups, the tensors between them, and what a placement of the groups adds up to.

A *group* is a set of operators that the edge runs as one; groups are what is placed. A *tensor* is a
graph input or an output of a group that another group reads. A placement is a mask over the groups:
True in the cloud. It is *legal* if nothing flows from cloud to edge and no pinned group or sealed
tensor is on the wrong side.

Where tensors may be sent in other ways than as they are held, a placement may go on with one bit for
each *coding*: True where it is used. Bits that are left out are False.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

INPUT = -1
"""Producer of a graph input, which is always on the edge."""


@dataclass(frozen=True)
class Totals:
    """What one placement adds up to, per inference."""

    edge_s: float
    cloud_s: float
    up_bytes: int
    down_bytes: int
    offloaded: bool
    """Anything runs in the cloud, so a round trip is paid."""


@dataclass(frozen=True)
class Codings:
    """Ways to send tensors other than as they are held; all arrays of shape [codings], times in seconds."""

    tensor: Ints
    """Which tensor it sends; those of a tensor stand together."""
    names: tuple[str, ...]
    size: Ints
    """Bytes on the wire."""
    encode_s: Floats
    """On the edge, beyond what sending the tensor as it is held takes."""
    decode_s: Floats
    """In the cloud, likewise."""
    damage: dict[str, Floats] = field(default_factory=dict)
    """By the kind of error budget: what it adds to the damage."""
    only: bool = False
    """A tensor that has one is never sent as it is held."""


NO_CODINGS = Codings(np.zeros(0, np.int64), (), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Problem:
    """Groups in topological order, tensors, and who reads which; times in seconds, sizes in bytes."""

    groups: tuple[str, ...]
    edge_s: Floats
    """Per group; 0 where the edge cannot run it."""
    cloud_s: Floats
    must_edge: Mask
    """Groups that the cloud cannot run."""
    must_cloud: Mask
    """Groups that the edge cannot run."""
    weights: Ints
    """Per group: bytes of its weights; weights that several groups share count for each."""
    answer: Ints
    """Per group: bytes of the graph outputs it makes, which come back if it runs in the cloud."""
    tensors: tuple[str, ...]
    size: Ints
    """Per tensor: bytes on the wire."""
    sealed: Mask
    """Per tensor: it may not leave the edge."""
    producer: Ints
    """Per tensor: index of its group, or `INPUT`."""
    read_tensor: Ints
    """Per read: which tensor ..."""
    read_group: Ints
    """... is read by which group; a group's reads of its own tensors are left out."""
    fixed_answer: int = 0
    """Bytes of constant graph outputs, which come back if anything is in the cloud."""
    reasons: dict[str, str] = field(default_factory=dict)
    """By group: why it is pinned to one side."""
    codings: Codings = NO_CODINGS
    damage: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    """By the kind of error budget, per group: what it adds to the damage on the edge, and in the cloud."""

    def sides(self, placement: Mask) -> Mask:
        """The part of a placement that says where groups run; shape [groups]."""
        return placement[: len(self.groups)]

    def coded(self, placement: Mask) -> Mask:
        """The part that says which codings are used; shape [codings]."""
        bits = placement[len(self.groups) :]
        return bits if len(bits) else np.zeros(len(self.codings.names), bool)

    def joined(self, sides: Mask, coded: Mask) -> Mask:
        """A placement of both parts; codings of tensors that do not cross are left out.

        Placements that say the same are equal: where no coding is used there are no bits for them.
        """
        used = coded & self.crossing(sides)[self.codings.tensor]
        return np.r_[sides, used] if used.any() else sides

    @cached_property
    def arcs(self) -> tuple[Ints, Ints]:
        """Pairs of groups (producer, reader), each once."""
        source = self.producer[self.read_tensor]
        inner = source != INPUT
        pairs = np.unique(np.stack([source[inner], self.read_group[inner]]), axis=1)
        return pairs[0], pairs[1]

    @cached_property
    def parents(self) -> list[list[int]]:
        """Per group: the groups it reads from."""
        found: list[list[int]] = [[] for _ in self.groups]
        for source, reader in zip(*(a.tolist() for a in self.arcs), strict=True):
            found[reader].append(source)
        return found

    @cached_property
    def children(self) -> list[list[int]]:
        """Per group: the groups that read from it."""
        found: list[list[int]] = [[] for _ in self.groups]
        for source, reader in zip(*(a.tolist() for a in self.arcs), strict=True):
            found[source].append(reader)
        return found

    def crossing(self, cloud: Mask) -> Mask:
        """Per tensor: it is on the edge and something in the cloud reads it.

        Args:
            cloud: Placement.
        """
        wanted = np.zeros(len(self.tensors), bool)
        wanted[self.read_tensor[self.sides(cloud)[self.read_group]]] = True
        return wanted & ~self.made_in_cloud(cloud)

    def made_in_cloud(self, cloud: Mask) -> Mask:
        """Per tensor: a group in the cloud makes it."""
        inner = self.producer != INPUT
        found = np.zeros(len(self.tensors), bool)
        found[inner] = self.sides(cloud)[self.producer[inner]]
        return found

    def totals(self, cloud: Mask) -> Totals:
        """What a placement adds up to.

        Args:
            cloud: Placement.
        """
        sides, used, codings = self.sides(cloud), self.coded(cloud), self.codings
        offloaded = bool(sides.any())
        held = self.crossing(cloud)
        held[codings.tensor[used]] = False
        return Totals(
            edge_s=float(self.edge_s[~sides].sum() + codings.encode_s[used].sum()),
            cloud_s=float(self.cloud_s[sides].sum() + codings.decode_s[used].sum()),
            up_bytes=int(self.size[held].sum() + codings.size[used].sum()),
            down_bytes=int(self.answer[sides].sum()) + offloaded * self.fixed_answer,
            offloaded=offloaded,
        )

    def above(self, groups: Mask) -> Mask:
        """These groups and all that they are computed from."""
        return _closure(groups, self.parents)

    def below(self, groups: Mask) -> Mask:
        """These groups and all that is computed from them."""
        return _closure(groups, self.children)


def _closure(groups: Mask, neighbours: list[list[int]]) -> Mask:
    found = groups.copy()
    stack = np.flatnonzero(groups).tolist()
    while stack:
        for other in neighbours[stack.pop()]:
            if not found[other]:
                found[other] = True
                stack.append(other)
    return found
