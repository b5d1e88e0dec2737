"""Sliding windows, shared by convolutions and pools: sizes, and padding as TFLite can say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Tensor
from edgecut.targets.tflite.ops.base import Call

SAME, VALID = 0, 1


@dataclass(frozen=True)
class Window:
    """A window over the spatial dimensions of a channels-first tensor."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Distance between the first and the last element that a window covers, plus one."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def same(self) -> bool:
        """Whether this is what TFLite's SAME padding does."""
        return all(map(_is_same, self.size, self.reach, self.stride, self.before, self.out))

    @property
    def valid(self) -> bool:
        """Whether no window touches the padding."""
        fits = [
            (n - r) // s + 1 == o
            for n, r, s, o in zip(self.size, self.reach, self.stride, self.out, strict=True)
        ]
        return not any(self.before) and all(fits)

    @property
    def needed_after(self) -> tuple[int, ...]:
        """Padding at the end that the last window really covers (negative: elements never read)."""
        ends = [(o - 1) * s + r for o, s, r in zip(self.out, self.stride, self.reach, strict=True)]
        return tuple(e - n - b for e, n, b in zip(ends, self.size, self.before, strict=True))


def window(call: Call, size: Sequence[int], kernel: Sequence[int]) -> Window:
    """Read strides, dilations, pads, auto_pad and ceil_mode of a convolution or pool."""
    rank = len(size)
    stride = call.attribute("strides") or [1] * rank
    dilation = call.attribute("dilations") or [1] * rank
    pads = call.attribute("pads") or [0] * (2 * rank)
    before, after = list(pads[:rank]), list(pads[rank:])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    mode = call.attribute("auto_pad", "NOTSET")
    if mode == "VALID":
        before, after = [0] * rank, [0] * rank
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [max((-(-n // s) - 1) * s + r - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    ceil = bool(call.attribute("ceil_mode", 0)) and mode == "NOTSET"
    out = [_outputs(*a, ceil) for a in zip(size, reach, stride, before, after, strict=True)]
    call.need(all(o > 0 for o in out), "its window does not fit the input")
    return Window(*map(tuple, (size, kernel, stride, dilation, before, after, out)))


def to_channels_last(call: Call, tensor: Tensor) -> Tensor:
    """[N, C, L] or [N, C, H, W] -> [N, H, W, C], where H is 1 for sequences."""
    n, c, *spatial = tensor.shape
    flat = call.reshape(tensor, (n, c, *([1] * (2 - len(spatial))), *spatial))
    return call.transpose(flat, (0, 2, 3, 1))


def from_channels_last(call: Call, tensor: Tensor, rank: int) -> Tensor:
    """Undo `to_channels_last` for a tensor that had ``rank`` dimensions."""
    first = call.transpose(tensor, (0, 3, 1, 2))
    n, c, _h, w = first.shape
    return first if rank == 4 else call.reshape(first, (n, c, w))


def planar(w: Window) -> Window:
    """The window of a sequence as one over an image of height 1."""
    if len(w.size) == 2:
        return w
    ones, zeros = (1,), (0,)
    return Window(
        ones + w.size, ones + w.kernel, ones + w.stride, ones + w.dilation,
        zeros + w.before, zeros + w.after, ones + w.out,
    )  # fmt: skip


def part(w: Window, dims: slice) -> Window:
    """The window over some of its dimensions."""
    return Window(*(tuple(getattr(w, f.name)[dims]) for f in fields(Window)))


def pad(call: Call, tensor: Tensor, w: Window, value: float = 0.0) -> tuple[Tensor, int]:
    """Pad a channels-last tensor as far as TFLite's own padding cannot, and say which of its kinds to use."""
    if w.same and value == 0.0:
        return tensor, SAME
    if w.valid:
        return tensor, VALID
    return explicit_pad(call, tensor, w.before, w.needed_after, value), VALID


def explicit_pad(
    call: Call, tensor: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0
) -> Tensor:
    """Pad (or crop, where negative) the spatial dimensions of a channels-last tensor."""
    low, high = [0, *before, 0], [0, *after, 0]
    if min(*low, *high) < 0:
        begin = [max(-b, 0) for b in low]
        size = [n - b - max(-a, 0) for n, b, a in zip(tensor.shape, begin, high, strict=True)]
        tensor = call.emit("SLICE", [tensor, lir.integers(begin), lir.integers(size)], size)
        low, high = [max(b, 0) for b in low], [max(a, 0) for a in high]
    if not any(low) and not any(high):
        return tensor
    rows = lir.constant(lir.integers(low + high).data.reshape(2, -1).T)  # type: ignore[union-attr]
    shape = [b + n + a for b, n, a in zip(low, tensor.shape, high, strict=True)]
    if value == 0.0:
        return call.emit("PAD", [tensor, rows], shape)
    return call.emit("PADV2", [tensor, rows, call.scalar(value, tensor.dtype)], shape)


def _outputs(size: int, reach: int, stride: int, before: int, after: int, ceil: bool) -> int:
    span = size + before + after - reach
    if not ceil:
        return span // stride + 1
    count = -(-span // stride) + 1
    # A window that would begin in the padding at the end is left out.
    return count - 1 if (count - 1) * stride >= size + before else count


def _is_same(size: int, reach: int, stride: int, before: int, out: int) -> bool:
    count = -(-size // stride)
    return out == count and before == max((count - 1) * stride + reach - size, 0) // 2
