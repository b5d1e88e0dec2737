"""Resize, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import FLOAT, Call
from edgecut.targets.tflite.ops.matmul import fully_connected

Scales = list[float]


def resize(call: Call) -> Tensor:
    """Images by TFLite's kernels where they agree; anything else along one axis after the other."""
    x = call.input(0)
    if call.attribute("mode", "nearest") == "nearest":
        return call.unrounded(x, lambda t: _resized(call, t))
    if x.dtype.name in ("int8", "uint8") and not x.is_constant:
        # Between integers, whatever they stand for, ONNX Runtime drops what is behind the point.
        return call.cast(_resized(call, call.cast(x, FLOAT)), x.dtype)
    call.float_only()
    return _resized(call, x)


def _resized(call: Call, x: Tensor) -> Tensor:
    mode = call.attribute("mode", "nearest")
    shape, scales = _target(call, x)
    coordinates = call.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = call.attribute("nearest_mode", "round_prefer_floor")
    spatial = x.rank == 4 and shape[:2] == x.shape[:2]
    even = all(abs(s * n - m) < 1e-6 for s, n, m in zip(scales, x.shape, shape, strict=True))
    options: dict[str, Any] = {"alignCorners": coordinates == "align_corners"}
    smooth = bool(call.attribute("antialias", 0)) and min(scales) < 1
    linear = mode == "linear" and coordinates in _LINEAR and not smooth
    # At one output element TFLite and ONNX disagree on where the corners are.
    apart = coordinates == "half_pixel" or min(shape[2:], default=0) > 1
    if spatial and even and linear and apart:
        options["halfPixelCenters"] = coordinates == "half_pixel"
        return _kernel(call, "RESIZE_BILINEAR", x, shape, **options)
    region = _region(call, x) if coordinates == "tf_crop_and_resize" else [None] * x.rank
    if (
        spatial
        and mode == "nearest"
        and region == [None] * 4
        and _whole(x, shape, scales, coordinates, rounding)
    ):
        return _kernel(call, "RESIZE_NEAREST_NEIGHBOR", x, shape, halfPixelCenters=False, alignCorners=False)
    inside: list[Array] = []
    for axis in range(x.rank):
        a = Axis(x.shape[axis], shape[axis], scales[axis], coordinates, region[axis])
        inside.append(a.inside)
        if a.size != a.new or a.scale != 1 or region[axis] is not None:
            x = _along(call, x, axis, a, rounding)
    return _extrapolated(call, x, inside)


_LINEAR = ("half_pixel", "align_corners", "asymmetric")


def _target(call: Call, x: Tensor) -> tuple[tuple[int, ...], Scales]:
    """Shape of the result, and the scale of each dimension."""
    axes = [call.axis(a, x.rank) for a in call.attribute("axes") or range(x.rank)]
    factors = call.known(2)
    if call.has(3):
        sizes = dict(zip(axes, call.constant(3, "sizes").tolist(), strict=True))
        policy = call.attribute("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            pick = min if policy == "not_larger" else max
            scale = pick(m / x.shape[a] for a, m in sizes.items())
            sizes = {a: int(np.floor(scale * x.shape[a] + 0.5)) for a in sizes}
            shape = tuple(sizes.get(i, n) for i, n in enumerate(x.shape))
            return shape, [scale if i in sizes else 1.0 for i in range(x.rank)]
        shape = tuple(int(sizes.get(i, n)) for i, n in enumerate(x.shape))
        return shape, [m / n for m, n in zip(shape, x.shape, strict=True)]
    call.need(factors is not None and factors.size > 0, "scales are not constant")
    assert factors is not None
    by_axis = dict(zip(axes, factors.tolist(), strict=True))
    scales = [float(by_axis.get(i, 1.0)) for i in range(x.rank)]
    return tuple(int(np.floor(n * s)) for n, s in zip(x.shape, scales, strict=True)), scales


def _whole(x: Tensor, shape: tuple[int, ...], scales: Scales, coordinates: str, rounding: str) -> bool:
    """Whether TFLite's nearest neighbours are the wanted ones."""
    for n, m, s in zip(x.shape, shape, scales, strict=True):
        own = np.floor(np.arange(m) * (n / m)).astype(int)
        if not np.array_equal(own, Axis(n, m, s, coordinates).nearest(rounding)):
            return False
    return True


def _kernel(call: Call, kind: str, x: Tensor, shape: tuple[int, ...], **options: Any) -> Tensor:
    image = call.transpose(x, (0, 2, 3, 1))
    size = lir.integers(shape[2:])
    out = call.emit(kind, [image, size], (image.shape[0], *shape[2:], image.shape[3]), **options)
    return call.transpose(out, (0, 3, 1, 2))


def _region(call: Call, x: Tensor) -> list[tuple[float, float] | None]:
    """The part of each dimension that is resized; None where it is not named."""
    axes = [call.axis(a, x.rank) for a in call.attribute("axes") or range(x.rank)]
    ends = call.constant(1, "the region").reshape(2, -1)
    found: list[tuple[float, float] | None] = [None] * x.rank
    for axis, start, end in zip(axes, *ends.tolist(), strict=True):
        found[axis] = (float(start), float(end))
    return found


def _extrapolated(call: Call, x: Tensor, inside: list[Array]) -> Tensor:
    """What lies outside of the image, given the value that is for it."""
    if all(one.all() for one in inside):
        return x
    mask = inside[0]
    for one in inside[1:]:
        mask = np.multiply.outer(mask, one)
    call.need(x.rank <= 5, f"rank {x.rank}")
    value = np.full((1,) * x.rank, call.attribute("extrapolation_value", 0.0), np.float32)
    return call.emit("SELECT_V2", [lir.constant(mask), x, lir.constant(value)], x.shape, x.dtype)


def _along(call: Call, x: Tensor, axis: int, a: Axis, rounding: str) -> Tensor:
    """Resize one dimension: by picking elements, or as a product with the interpolation matrix."""
    mode = call.attribute("mode", "nearest")
    if mode == "nearest":
        index = lir.integers(a.nearest(rounding).tolist())
        shape = (*x.shape[:axis], a.new, *x.shape[axis + 1 :])
        return call.emit("GATHER", [x, index], shape, axis=axis, batchDims=0)
    perm = [i for i in range(x.rank) if i != axis] + [axis]
    last = call.transpose(x, perm)
    out = fully_connected(call, last, lir.constant(_matrix(call, a, mode)), None)
    return call.transpose(out, np.argsort(perm).tolist())


@dataclass(frozen=True)
class Axis:
    """One dimension of an image, and the one that it becomes."""

    size: int
    new: int
    scale: float
    coordinates: str
    region: tuple[float, float] | None = None

    @property
    def positions(self) -> Array:
        """Where every output element lies in the input."""
        out, n, m, scale = np.arange(self.new), self.size, self.new, self.scale
        if self.region is not None:
            start, end = self.region
            middle = 0.5 * (start + end) * (n - 1)
            return np.asarray(
                start * (n - 1) + out * (end - start) * (n - 1) / (m - 1) if m > 1 else [middle]
            )
        if self.coordinates == "align_corners":
            length = n * scale
            return np.asarray(out * ((n - 1) / (length - 1) if length != 1 else 0.0))
        if self.coordinates in ("asymmetric", "tf_crop_and_resize"):
            return np.asarray(out / scale)
        if self.coordinates == "tf_half_pixel_for_nn":
            return np.asarray((out + 0.5) / scale)
        if self.coordinates == "pytorch_half_pixel" and m <= 1:
            return np.zeros(m)
        if self.coordinates == "half_pixel_symmetric":
            adjustment = m / (scale * n)
            return np.asarray(n / 2 * (1 - adjustment) + (out + 0.5) / scale - 0.5)
        return np.asarray((out + 0.5) / scale - 0.5)

    @property
    def inside(self) -> Array:
        """Which output elements lie in the image; all of them, but where a region reaches beyond it."""
        if self.region is None:
            return np.ones(self.new, bool)
        return np.asarray((self.positions >= 0) & (self.positions <= self.size - 1))

    def nearest(self, rounding: str) -> Array:
        """The input element of every output element."""
        at = self.positions
        rounded = {
            "round_prefer_floor": np.ceil(at - 0.5), "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at), "ceil": np.ceil(at),
        }[rounding]  # fmt: skip
        return np.asarray(np.clip(rounded, 0, self.size - 1).astype(int))


def _matrix(call: Call, a: Axis, mode: str) -> Array:
    """[m, n]: how much every input element counts in every output element."""
    coefficient = float(call.attribute("cubic_coeff_a", -0.75))
    smooth = bool(call.attribute("antialias", 0)) and a.scale < 1
    shrink = a.scale if smooth else 1.0  # the weights of a filter are spread over what becomes one element
    reach = int(np.ceil((2 if mode == "cubic" else 1) / shrink))
    outside = bool(call.attribute("exclude_outside", 0))
    matrix = np.zeros((a.new, a.size))
    for row, at in enumerate(a.positions):
        near = np.arange(int(np.floor(at)) - reach + 1, int(np.floor(at)) + reach + 1)
        distance = np.abs(near - at) * shrink
        weight = _cubic(distance, coefficient) if mode == "cubic" else np.maximum(1 - distance, 0)
        if outside:
            weight = np.where((near >= 0) & (near < a.size), weight, 0)
        np.add.at(matrix[row], near.clip(0, a.size - 1), weight / (weight.sum() or 1.0))
    return matrix.astype(np.float32)


def _cubic(distance: Array, a: float) -> Array:
    inner = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    outer = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.asarray(np.where(distance <= 1, inner, np.where(distance < 2, outer, 0)))


def depth_to_space(call: Call) -> Tensor:
    """Channels to blocks of pixels; TFLite's kernel has the order of ``DCR``."""
    x, block = call.input(0), int(call.attribute("blocksize"))
    n, c, h, w = x.shape
    depth = c // block**2
    if call.attribute("mode", "DCR") == "DCR":
        image = call.transpose(x, (0, 2, 3, 1))
        out = call.emit("DEPTH_TO_SPACE", [image], (n, h * block, w * block, depth), blockSize=block)
        return call.transpose(out, (0, 3, 1, 2))
    order = np.arange(c).reshape(depth, block, block).transpose(1, 2, 0).ravel()
    picked = call.emit("GATHER", [x, lir.integers(order)], x.shape, axis=1, batchDims=0)
    image = call.transpose(picked, (0, 2, 3, 1))
    out = call.emit("DEPTH_TO_SPACE", [image], (n, h * block, w * block, depth), blockSize=block)
    return call.transpose(out, (0, 3, 1, 2))


def space_to_depth(call: Call) -> Tensor:
    """Blocks of pixels to channels; TFLite's kernel has the order of ``DCR``."""
    x, block = call.input(0), int(call.attribute("blocksize"))
    n, c, h, w = x.shape
    image = call.transpose(x, (0, 2, 3, 1))
    out = call.emit("SPACE_TO_DEPTH", [image], (n, h // block, w // block, c * block**2), blockSize=block)
    if call.attribute("mode", "DCR") != "DCR":
        order = np.arange(c * block**2).reshape(block, block, c).transpose(2, 0, 1).ravel()
        out = call.emit("GATHER", [out, lir.integers(order)], out.shape, axis=3, batchDims=0)
    return call.transpose(out, (0, 3, 1, 2))


LOWERINGS = {
    "Resize": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
