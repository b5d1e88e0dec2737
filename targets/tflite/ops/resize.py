"""Resize, Upsample, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecut.targets.tflite import lir
from edgecut.targets.tflite.lir import Array, Tensor
from edgecut.targets.tflite.ops.base import Call
from edgecut.targets.tflite.ops.matmul import fully_connected

Scales = list[float]


def resize(call: Call) -> Tensor:
    """Images by TFLite's kernels where they agree; anything else along one axis after the other."""
    call.float_only()
    x, mode = call.input(0), call.attribute("mode", "nearest")
    shape, scales = _target(call, x)
    old = call.kind == "Upsample" or call.opset == 10
    coordinates = call.attribute("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounding = call.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
    call.need(not call.attribute("antialias", 0) or min(scales) >= 1, "antialias")
    call.need(coordinates != "tf_crop_and_resize", "coordinates of crop and resize")
    spatial = x.rank == 4 and shape[:2] == x.shape[:2]
    even = all(abs(s * n - m) < 1e-6 for s, n, m in zip(scales, x.shape, shape, strict=True))
    options: dict[str, Any] = {"alignCorners": coordinates == "align_corners"}
    linear = mode == "linear" and coordinates in _LINEAR
    # At one output element TFLite and ONNX disagree on where the corners are.
    apart = coordinates == "half_pixel" or min(shape[2:], default=0) > 1
    if spatial and even and linear and apart:
        options["halfPixelCenters"] = coordinates == "half_pixel"
        return _kernel(call, "RESIZE_BILINEAR", x, shape, **options)
    if spatial and mode == "nearest" and _whole(x, shape, scales, coordinates, rounding):
        return _kernel(call, "RESIZE_NEAREST_NEIGHBOR", x, shape, halfPixelCenters=False, alignCorners=False)
    for axis in range(x.rank):
        if shape[axis] != x.shape[axis] or scales[axis] != 1:
            x = _along(call, x, axis, shape[axis], scales[axis], coordinates, rounding)
    return x


_LINEAR = ("half_pixel", "align_corners", "asymmetric")


def _target(call: Call, x: Tensor) -> tuple[tuple[int, ...], Scales]:
    """Shape of the result, and the scale of each dimension."""
    call.need(call.attribute("keep_aspect_ratio_policy", "stretch") == "stretch", "keeping the aspect ratio")
    axes = [call.axis(a, x.rank) for a in call.attribute("axes") or range(x.rank)]
    first = 1 if call.kind == "Upsample" or call.opset == 10 else 2
    factors = call.known(first)
    if call.kind != "Upsample" and call.has(3):
        sizes = dict(zip(axes, call.constant(3, "sizes").tolist(), strict=True))
        shape = tuple(int(sizes.get(i, n)) for i, n in enumerate(x.shape))
        return shape, [m / n for m, n in zip(shape, x.shape, strict=True)]
    if factors is None and call.attribute("scales") is not None:
        factors = np.array(call.attribute("scales"))
    call.need(factors is not None and factors.size > 0, "scales are not constant")
    assert factors is not None
    by_axis = dict(zip(axes, factors.tolist(), strict=True))
    scales = [float(by_axis.get(i, 1.0)) for i in range(x.rank)]
    return tuple(int(np.floor(n * s)) for n, s in zip(x.shape, scales, strict=True)), scales


def _whole(x: Tensor, shape: tuple[int, ...], scales: Scales, coordinates: str, rounding: str) -> bool:
    """Whether TFLite's nearest neighbours are the wanted ones."""
    for n, m, s in zip(x.shape, shape, scales, strict=True):
        own = np.floor(np.arange(m) * (n / m)).astype(int)
        if not np.array_equal(own, _nearest(n, m, s, coordinates, rounding)):
            return False
    return True


def _kernel(call: Call, kind: str, x: Tensor, shape: tuple[int, ...], **options: Any) -> Tensor:
    image = call.transpose(x, (0, 2, 3, 1))
    size = lir.integers(shape[2:])
    out = call.emit(kind, [image, size], (image.shape[0], *shape[2:], image.shape[3]), **options)
    return call.transpose(out, (0, 3, 1, 2))


def _along(
    call: Call, x: Tensor, axis: int, size: int, scale: float, coordinates: str, rounding: str
) -> Tensor:
    """Resize one dimension: by picking elements, or as a product with the interpolation matrix."""
    mode = call.attribute("mode", "nearest")
    if mode == "nearest":
        index = lir.integers(_nearest(x.shape[axis], size, scale, coordinates, rounding).tolist())
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        return call.emit("GATHER", [x, index], shape, axis=axis, batchDims=0)
    matrix = _matrix(call, x.shape[axis], size, scale, mode, coordinates)
    perm = [i for i in range(x.rank) if i != axis] + [axis]
    last = call.transpose(x, perm)
    out = fully_connected(call, last, lir.constant(matrix), None)
    return call.transpose(out, np.argsort(perm).tolist())


def _positions(n: int, m: int, scale: float, coordinates: str) -> Array:
    """Where every output element lies in the input."""
    out = np.arange(m)
    if coordinates == "align_corners":
        length = n * scale
        return np.asarray(out * ((n - 1) / (length - 1) if length != 1 else 0.0))
    if coordinates == "asymmetric":
        return np.asarray(out / scale)
    if coordinates == "pytorch_half_pixel" and m <= 1:
        return np.zeros(m)
    if coordinates == "half_pixel_symmetric":
        adjustment = m / (scale * n)
        return np.asarray(n / 2 * (1 - adjustment) + (out + 0.5) / scale - 0.5)
    return np.asarray((out + 0.5) / scale - 0.5)


def _nearest(n: int, m: int, scale: float, coordinates: str, rounding: str) -> Array:
    at = _positions(n, m, scale, coordinates)
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5), "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at), "ceil": np.ceil(at),
    }[rounding]  # fmt: skip
    return np.asarray(np.clip(rounded, 0, n - 1).astype(int))


def _matrix(call: Call, n: int, m: int, scale: float, mode: str, coordinates: str) -> Array:
    """[m, n]: how much every input element counts in every output element."""
    coefficient = float(call.attribute("cubic_coeff_a", -0.75))
    reach = 2 if mode == "cubic" else 1
    matrix = np.zeros((m, n))
    for row, at in enumerate(_positions(n, m, scale, coordinates)):
        near = np.arange(int(np.floor(at)) - reach + 1, int(np.floor(at)) + reach + 1)
        distance = np.abs(near - at)
        weight = _cubic(distance, coefficient) if mode == "cubic" else np.maximum(1 - distance, 0)
        if call.attribute("exclude_outside", 0):
            weight = np.where((near >= 0) & (near < n), weight, 0)
        np.add.at(matrix[row], near.clip(0, n - 1), weight / weight.sum())
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
    "Upsample": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
