"""Every quantized tensor of every network on integers keeps to TensorFlow Lite's quantization specification.

https://ai.google.dev/edge/litert/models/quantization_spec: what kernels take for granted, and some of them do
not check.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

NETWORKS = (
    "mobilenetv2", "mobilenetv3s", "shufflenetv2", "resnet18", "resnet8", "efflite0", "yolo", "unet",
    "deeplab", "dscnn", "ecg1d", "convnext", "vit_tiny", "bert_tiny", "keras_mobilenet", "keras_attention",
)  # fmt: skip
# The axis along which weights may have a scale each.
WEIGHTS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
# Operators that give integers as they get them, so that scales and zero points have to be the same.
MOVES = frozenset((
    "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "GATHER", "GATHER_ND", "PAD",
    "PADV2", "MIRROR_PAD", "TILE", "CONCATENATION", "PACK", "UNPACK", "SQUEEZE", "EXPAND_DIMS",
    "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN", "MAXIMUM", "MINIMUM", "BROADCAST_TO",
))  # fmt: skip
# Scale and zero point of the results, where the kernel knows only these.
FIXED = {
    "LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0),
    "LOG_SOFTMAX": (16 / 256, 127), "L2_NORMALIZATION": (1 / 128, 0),
}  # fmt: skip
INT32, INT64, INT16, INT8 = 2, 4, 7, 9


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network_on_integers_keeps_to_the_specification(
    request: pytest.FixtureRequest, name: str, scheme: str
) -> None:
    wrong, seen = [], 0
    for place, problem in _checks(request.getfixturevalue(scheme)(name).data):
        seen += 1
        wrong += [f"{place}: {problem}"] if problem else []
    assert wrong == []
    assert seen >= 10, "hardly anything is quantized"


def _checks(data: bytes) -> Iterator[tuple[str, str]]:
    """Each thing that was looked at, with what is wrong with it; empty where nothing is."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    kinds = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    for graph in model.subgraphs:
        for number, tensor in enumerate(graph.tensors):
            if tensor.type in (INT8, INT16):
                yield f"tensor {number}", _tensor(tensor)
        for number, op in enumerate(graph.operators):
            kind = kinds[model.operatorCodes[op.opcodeIndex].builtinCode]
            inputs = [graph.tensors[i] for i in op.inputs if i >= 0]
            outputs = [graph.tensors[i] for i in op.outputs]
            if outputs[0].type in (INT8, INT16):
                yield f"operator {number}, {kind}", _operator(kind, inputs, outputs, model.buffers)


def _scales(tensor: Any) -> tuple[Any, Any]:
    given = tensor.quantization
    if given is None or given.scale is None:
        return np.zeros(0), np.zeros(0)
    return np.asarray(given.scale, np.float64), np.asarray(given.zeroPoint)


def _tensor(tensor: Any) -> str:
    scale, zero = _scales(tensor)
    if not scale.size or not (scale > 0).all() or not np.isfinite(scale).all():
        return f"scales {scale[:4]}"
    if zero.shape != scale.shape or zero.min() < -128 or zero.max() > 127:
        return f"zero points {zero[:4]} of {scale.size} scales"
    if tensor.type == INT16 and zero.any():
        return f"16 bits with a zero point of {zero[0]}"
    if scale.size > 1 and (zero.any() or tensor.shape[tensor.quantization.quantizedDimension] != scale.size):
        return "several scales, with zero points or along an axis of another length"
    return ""


def _operator(kind: str, inputs: list[Any], outputs: list[Any], buffers: list[Any]) -> str:
    if kind in WEIGHTS:
        # TRANSPOSE_CONV has the shape of its result first, and its data after the weights.
        inputs = [inputs[2], inputs[1], *inputs[3:]] if kind == "TRANSPOSE_CONV" else inputs
        if inputs[0].type != outputs[0].type:
            return "gives other integers than it reads"
        return _weighted(kind, inputs, buffers)
    data = [t for t in inputs if t.type in (INT8, INT16)]
    if kind in MOVES:
        first = _scales(outputs[0])
        same = all(np.array_equal(_scales(t), first) for t in (*data, *outputs))
        return "" if same else "inputs and outputs differ in scale or zero point"
    if kind in FIXED:
        if outputs[0].type != INT8:
            return "is a function whose kernel of 16 bits is not exact"
        scale, zero = _scales(outputs[0])
        return (
            "" if (scale[0], zero[0]) == FIXED[kind] else f"gives scale {scale[0]} and zero point {zero[0]}"
        )
    several = [t for t in (*data, *outputs) if _scales(t)[0].size != 1]
    return "a scale per channel where the kernel takes one" if several else ""


def _weighted(kind: str, inputs: list[Any], buffers: list[Any]) -> str:
    x, weights, *bias = inputs
    scale, zero = _scales(weights)
    axis = WEIGHTS[kind]
    if x.type not in (INT8, INT16) or weights.type != INT8 or zero.any():
        return "weights have zero points, or are no int8"
    if scale.size > 1 and weights.quantization.quantizedDimension != axis:
        return f"weights have scales along axis {weights.quantization.quantizedDimension}"
    numbers = np.frombuffer(bytes(buffers[weights.buffer].data), np.int8)
    if numbers.min() < -127:
        return "weights hold -128"
    if not bias:
        return ""
    own, points = _scales(bias[0])
    if (
        bias[0].type not in ((INT32,) if x.type == INT8 else (INT32, INT64))
        or points.any()
        or (own.size > 1 and bias[0].quantization.quantizedDimension != 0)
    ):
        return "the bias is of another type, or has zero points, or scales not along axis 0"
    # The product is made in float32.
    expected = np.broadcast_to(_scales(x)[0] * scale, own.shape) if own.size else np.zeros(0)
    close = own.size in (1, scale.size) and np.allclose(own, expected, rtol=1e-6, atol=0)
    return "" if close else "the bias's scale is not that of the input times that of the weights"
