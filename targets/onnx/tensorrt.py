"""Would TensorRT take a cloud model? Checked against its published table (`tensorrt.toml`); how to build it.

Nothing here needs TensorRT. A model that passes may still fail in it: the table tells operators, types and
some restrictions, not everything.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as oir

_TABLE = Path(__file__).with_name("tensorrt.toml")
_TYPES = {
    "FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64", "INT4": "INT4",
    "FLOAT8E4M3FN": "FP8",
}  # fmt: skip
_OWN_TYPES = ("DOUBLE",)
"""Cast to float by the parser."""


@dataclass(frozen=True)
class Table:
    """The published table."""

    version: str
    opset: tuple[int, int]
    taken: dict[str, tuple[str, ...]]
    """Types by operator."""


@functools.cache
def table() -> Table:
    """Read the table."""
    data = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    taken = {name: tuple(group["types"]) for group in data["taken"] for name in group["operators"]}
    return Table(data["version"], (data["opset"][0], data["opset"][1]), taken)


def problems(model: oir.Model) -> list[str]:
    """What keeps TensorRT from taking a model: one line for each node, by the user's names."""
    low, high = table().opset
    opset = model.graph.opset_imports.get("", high)
    found = [] if low <= opset <= high else [f"opset {opset} is not between {low} and {high}"]
    for node in model.graph.all_nodes():
        reason = _reason(node)
        if reason:
            found.append(f"{node.name or node.outputs[0].name} ({node.op_type}): {reason}")
    return found


def script(models: list[str], *, sparse: bool = False) -> str:
    """POSIX shell that builds TensorRT engines of a repository's models, as a second repository.

    Args:
        models: Their names.
        sparse: Let it try kernels for 2:4 sparsity, which it takes where weights have it and they are faster.
    """
    names = " ".join(models)
    sparsity = " --sparsity=enable" if sparse else ""
    return f"""#!/bin/sh
# Builds TensorRT engines of the models here, on the machine with the GPU that will run them:
#   tensorrt.sh [OUT]        OUT (default: ../tensorrt) becomes a model repository for Triton
# Needs trtexec (TensorRT {table().version} or near). All shapes are static: there is no optimization profile,
# and --minShapes, --optShapes, --maxShapes do not apply. EXTRA adds flags, such as EXTRA=--fp16.
# Models with Q/DQ get --int8, which lets TensorRT use the scales that they carry.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${{1:-"$here/../tensorrt"}}
for model in {names}; do
    mkdir -p "$out/$model/1"
    precision=
    if grep -q QuantizeLinear "$here/$model/1/model.onnx"; then precision=--int8; fi
    # shellcheck disable=SC2086  # EXTRA is a list of words
    "${{TRTEXEC:-trtexec}}" --onnx="$here/$model/1/model.onnx" --saveEngine="$out/$model/1/model.plan" \\
        --builderOptimizationLevel=4 --timingCacheFile="$out/timing.cache" --skipInference{sparsity} \\
        $precision ${{EXTRA:-}}
    sed 's/^backend: "onnxruntime"$/backend: "tensorrt"/' "$here/$model/config.pbtxt" \\
        > "$out/$model/config.pbtxt"
done
"""


def _reason(node: oir.Node) -> str:
    if node.domain not in ("", "ai.onnx"):
        return f"TensorRT has no operator of the domain {node.domain}"
    types = table().taken.get(node.op_type)
    if types is None:
        return "TensorRT does not have this operator"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _quantization(node)
    value = node.inputs[0] if node.inputs and node.inputs[0] is not None else node.outputs[0]
    kind = _type(value)
    if kind not in types and kind not in _OWN_TYPES:
        return f"takes {', '.join(types)}, not {kind}"
    rule = _RULES.get(node.op_type)
    return rule(node) if rule else ""


def _type(value: oir.Value) -> str:
    name = value.dtype.name if value.dtype is not None else "an unknown type"
    return _TYPES.get(name, name)


def _quantization(node: oir.Node) -> str:
    quantized = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
    kind = _type(quantized) if quantized is not None else ""
    is_bias = kind == "INT32" and quantized is not None and quantized.const_value is not None
    if is_bias:
        return "takes INT8, not INT32 (a quantized bias: it has to be kept as float)"
    if kind not in table().taken["DequantizeLinear"]:
        return f"takes INT8, not {kind}"
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    constant = zero.const_value if zero is not None else None
    if zero is not None and (constant is None or np.any(constant.numpy() != 0)):
        return "its zero point must be 0 (symmetric quantization)"
    return ""


def _ints(node: oir.Node, name: str) -> tuple[int, ...]:
    attribute = node.attributes.get(name)
    return tuple(attribute.as_ints()) if attribute is not None else ()


def _text(node: oir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return attribute.as_string() if attribute is not None else default


def _pool(node: oir.Node) -> str:
    if len(_ints(node, "kernel_shape")) not in (2, 3):
        return "only pools in 2 or 3 dimensions are taken"
    if any(d != 1 for d in _ints(node, "dilations")):
        return "dilations are not taken"
    return "the output Indices is not taken" if len(node.outputs) > 1 else ""


def _constant(index: int, what: str) -> Callable[[oir.Node], str]:
    def rule(node: oir.Node) -> str:
        value = node.inputs[index] if len(node.inputs) > index else None
        return "" if value is None or value.const_value is not None else f"{what} must be a constant"

    return rule


def _first_output(node: oir.Node) -> str:
    return "only its first output is taken" if len(node.outputs) > 1 else ""


def _resize(node: oir.Node) -> str:
    taken = {
        "coordinate_transformation_mode": (
            "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners",
        ),
        "mode": ("nearest", "linear"),
        "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        "keep_aspect_ratio_policy": ("stretch",),
    }  # fmt: skip
    for name, values in taken.items():
        found = _text(node, name, values[0])
        if found not in values:
            return f"{name}={found} is not taken"
    antialias = node.attributes.get("antialias")
    return "antialiasing is not taken" if antialias is not None and antialias.as_int() else ""


def _recurrent(node: oir.Node) -> str:
    for name in ("layout", "input_forget"):
        if name in node.attributes and node.attributes[name].as_int():
            return f"{name} must be 0"
    return ""


def _scatter(node: oir.Node) -> str:
    found = _text(node, "reduction", "none")
    return "" if found == "none" else f"reduction={found} is not taken"


def _top_k(node: oir.Node) -> str:
    if "sorted" in node.attributes and not node.attributes["sorted"].as_int():
        return "sorted must be 1"
    value = node.inputs[1].const_value if node.inputs[1] is not None else None
    return "K must be less than 3840" if value is not None and int(value.numpy().max()) >= 3840 else ""


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_RULES: dict[str, Callable[[oir.Node], str]] = {
    "AveragePool": _pool,
    "MaxPool": _pool,
    "CumSum": _constant(1, "axis"),
    "LayerNormalization": _first_output,
    "LSTM": _recurrent,
    "OneHot": _constant(1, "depth"),
    "Resize": _resize,
    "ScatterND": _scatter,
    "Squeeze": _constant(1, "axes"),
    "TopK": _top_k,
    "Unsqueeze": _constant(1, "axes"),
    **{f"Reduce{name}": _constant(1, "axes") for name in _REDUCTIONS},
}


__all__ = ["Table", "problems", "script", "table"]
