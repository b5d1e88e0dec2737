"""Scales that leave no ties: so every runtime rounds a sum to the same integer.

An integer kernel and ONNX Runtime add the same numbers in another order, and so disagree where a result lies
halfway between two integers, to seven digits. One such value moves others in the next layer, and through a
deep network a few in a million become some percent. No result lies there if its accumulator counts units of
M/D output steps, with D odd: 2 M n = (2 k + 1) D has no solution, one side being even and the other odd, and
the nearest miss is 1/(2 D) of a step, far above what float32 rounds off. So

- a weight's scale is chosen such that input scale * weight scale / output scale = M/D;
- what is added has scales that are odd multiples of one base, its sum too;
- the result of a product or mean has D/M times the scale of its unit;
- where a kernel leaves no choice of scales without ties (linear interpolation, LeakyRelu), a small part of a
  step is added before rounding, which moves halves upwards as the kernel does;
- an input's scale has a reciprocal that float32 holds, as kernels multiply where ONNX divides.

Every scale is moved upwards, by less than 2 %. The weights of a model that was quantized before are integers
already: they stay so, and their scales are moved by at most 0.1 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.passes.quantize import means, region
from edgecut.passes.quantize.grid import Grid
from edgecut.passes.quantize.region import Region
from edgecut.targets.tflite import leaky

# The least D, and the least multiple of a base: neighbours are 1.6 % apart.
_LEAST = 128
# The least D for weights that are integers already: 0.1 % apart, so that they stay the same integers.
_FINE = 1024
_SHORT = 15
# HardSigmoid adds half a step of its own grid. With a prime above 255 in D, only an input of 0 ties there.
_GATE, _PRIME = 6 / 255, 257
_ADDING = frozenset({"Add", "Sub", "Relu", "Clip"})
_MEANS = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean", "Resize"})


def grids(found: Region, groups: list[list[oir.Value]], own: list[Grid], fixed: list[bool]) -> list[Grid]:
    """The grids of tied groups of values, moved so that nothing ties.

    Args:
        found: What runs on integers.
        groups: Values that share one grid.
        own: The grid of each group from calibration, which is kept where nothing better is known.
        fixed: Which of them a kernel or the pixels of an image prescribe.
    """
    steps = _Steps.of(found, groups, [g.scale for g in own], fixed)
    steps.inputs(found)
    steps.sums(found)
    steps.products(found)
    return [
        g if f or s == g.scale else regridded(g, s) for g, s, f in zip(own, steps.scales, fixed, strict=True)
    ]


def weight_scales(
    scales: NDArray[np.float32], step: float, out: float, whole: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Scales of weights next to these, with which ``step * scale / out`` is M over an odd D.

    Args:
        scales: One per channel, or that of a constant.
        step: Scale of what they are multiplied with, or 1.
        out: Scale of the result.
        whole: Which channels are whole multiples of their scales, and are to stay the same integers.
    """
    units = step * scales.astype(np.float64)
    powers = _power(out / units)
    denominators = 2 * np.floor((powers * out / units - 1) / 2) + 1
    if whole is not None and whole.any():
        fine = _power(out / units, _FINE)
        powers = np.where(whole, fine, powers)
        denominators = np.where(whole, 2 * np.rint((fine * out / units - 1) / 2) + 1, denominators)
    return np.asarray(powers * out / denominators / step, np.float32)


def short_scales(scales: NDArray[np.float32], step: float, out: float) -> NDArray[np.float32]:
    """Scales of weights, at most an 8000th above these, with which ``step * scale / out`` has 15 bits.

    Kernels on 16 bits that add in 64 know no more of it. The last of them is 1, as with an even number more
    sums would lie halfway between two integers.

    Args:
        scales: One per channel.
        step: Scale of what they are multiplied with.
        out: Scale of the result.
    """
    units = scales.astype(np.float64) * step / out
    powers = np.exp2(np.floor(np.log2(units)) - _SHORT + 1)
    odd = 2 * np.ceil((units / powers - 1) / 2) + 1
    # The first odd number behind those of 15 bits has as many in units twice as large.
    odd, powers = (
        np.where(odd > 2**_SHORT, 2 ** (_SHORT - 1) + 1, odd),
        np.where(odd > 2**_SHORT, 2 * powers, powers),
    )
    return np.asarray(odd * powers * out / step, np.float32)


@dataclass
class _Steps:
    """Scales of groups on their way; those in ``decided`` stay."""

    scales: list[float]
    group: dict[oir.Value, int]
    decided: set[int] = field(default_factory=set)

    @classmethod
    def of(
        cls, found: Region, groups: list[list[oir.Value]], scales: list[float], fixed: list[bool]
    ) -> _Steps:
        number = {v: i for i, group in enumerate(groups) for v in group}
        return cls(list(scales), number, {i for i, f in enumerate(fixed) if f})

    def inputs(self, found: Region) -> None:
        """Where float becomes integers."""
        for value, index in self.group.items():
            if value.producer() not in found.nodes and index not in self.decided:
                self.scales[index] = _reciprocal(self.scales[index])
                self.decided.add(index)

    def sums(self, found: Region) -> None:
        """Odd multiples of a base for all that is added to each other, directly or by way of others."""
        for members, gate in _classes(found, self.group):
            anchors = {self.scales[i] for i in members if i in self.decided}
            free = [i for i in members if i not in self.decided]
            if not free or len(anchors) > 1 or (len(members) == 1 and not gate):
                continue
            base = _base(min(self.scales[i] for i in members), next(iter(anchors), None), gate=gate)
            for i in free:
                self.scales[i] = base * _odd_above(self.scales[i] / base)
            self.decided.update(members)

    def products(self, found: Region) -> None:
        """The results of products and means; their operands where the results are decided."""
        for chain in found.chains:
            node = chain[0]
            if node.op_type in _MEANS and not region.moves(node):
                self._mean(node)
            elif node.op_type == "Mul":
                self._product(node, self.group[chain[-1].outputs[0]])
            elif node.op_type == "LeakyRelu":
                self._leaky(node)

    def _mean(self, node: oir.Node) -> None:
        x, out = self.group[node.inputs[0]], self.group[node.outputs[0]]  # type: ignore[index]
        count = means.parts(node)
        self.decided.add(x)
        if count is not None and out not in self.decided:
            self._result(out, self.scales[x] / count)

    def _product(self, node: oir.Node, out: int) -> None:
        operands = [self.group[v] for v in region.activations(node)]
        if len(operands) < 2:  # the constant adapts
            return
        a, b = operands
        if out not in self.decided:
            self.decided.update((a, b))
            self._result(out, self.scales[a] * self.scales[b])
            return
        adapts = next((i for i in (a, b) if i not in self.decided and a != b), None)
        if adapts is None:
            return
        other = self.scales[b if adapts == a else a]
        ratio = self.scales[out] / (self.scales[adapts] * other)
        power = float(_power(ratio))
        self.scales[adapts] = power * self.scales[out] / (_odd_below(power * ratio) * other)
        self.decided.update((a, b))

    def _leaky(self, node: oir.Node) -> None:
        x, out = self.group[node.inputs[0]], self.group[node.outputs[0]]  # type: ignore[index]
        grows = x if out in self.decided else out
        if grows in self.decided or x == out:
            return
        ratio = leaky.ratio(self.scales[x] / self.scales[out], region.slope(node), above=grows == x)
        if ratio is not None:
            self.scales[grows] = self.scales[out] * ratio if grows == x else self.scales[x] / ratio
        self.decided.update((x, out))

    def _result(self, out: int, unit: float) -> None:
        power = float(_power(self.scales[out] / unit))
        self.scales[out] = unit * _odd_above(power * self.scales[out] / unit) / power
        self.decided.add(out)


def _classes(found: Region, group: dict[oir.Value, int]) -> list[tuple[list[int], bool]]:
    """Groups that meet in sums, and whether a hard sigmoid reads one of them."""
    parent = {i: i for i in group.values()}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    gates = set()
    for chain in found.chains:
        node, out = chain[0], chain[-1].outputs[0]
        read = [group[v] for v in region.activations(node)]
        if node.op_type in _ADDING:
            for i in read:
                parent[root(i)] = root(group[out])
        if node.op_type == "HardSigmoid":
            gates.update(read)
    members: dict[int, list[int]] = {}
    for i in dict.fromkeys(group.values()):
        members.setdefault(root(i), []).append(i)
    return [(m, not gates.isdisjoint(m)) for m in members.values()]


def _base(least: float, anchor: float | None, *, gate: bool) -> float:
    """A base of which the least scale is enough steps, and an anchor's scale an odd number of them."""
    if anchor is not None:
        return anchor / _odd_above(_LEAST * anchor / least)
    base = _GATE / _PRIME if gate else least / (_LEAST + 1)
    return base / float(_power(least / base))


def _power(ratio: float | NDArray[np.float64], least: int = _LEAST) -> NDArray[np.float64]:
    """The smallest power of two, 1 or more, that makes a ratio at least ``least``."""
    return np.exp2(np.maximum(np.ceil(np.log2(least / np.asarray(ratio, np.float64))), 0))


def _odd_above(number: float) -> int:
    return 2 * math.ceil((number * (1 - 1e-9) - 1) / 2) + 1


def _odd_below(number: float) -> int:
    return 2 * math.floor((number - 1) / 2) + 1


def _reciprocal(scale: float) -> float:
    """A scale at most half a percent above, whose reciprocal float32 holds to 33 bits."""
    inverses = np.linspace(1 / scale, 0.995 / scale, 1 << 14).astype(np.float32)
    scales = (1 / inverses.astype(np.float64)).astype(np.float32)
    error = np.abs(inverses.astype(np.float64) * scales.astype(np.float64) - 1)
    return float(scales[np.argmin(error)])


def regridded(own: Grid, scale: float) -> Grid:
    """The same range from its low end on, at a larger scale."""
    limits = np.iinfo(own.dtype)
    scale = float(np.float32(scale))
    if own.zero_point == 0:
        return replace(own, scale=scale)
    low = (limits.min - own.zero_point) * own.scale
    zero = int(np.clip(round(limits.min - low / scale), limits.min, limits.max))
    return replace(own, scale=scale, zero_point=zero)
