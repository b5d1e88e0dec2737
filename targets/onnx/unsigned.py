"""Eight-bit activations as uint8 where they are asymmetric, since ONNX Runtime fuses only those on x86.

Its CPU kernels for quantized Add, Mul, Concat and pooling, and for convolutions beside them, want uint8
activations with int8 weights; with int8 activations it computes in float between DequantizeLinear and
QuantizeLinear. A zero point that is 128 higher with integers that are 128 higher stands for the same numbers,
so every node gives what it gave, to the bit. Symmetric programs stay int8, since TensorRT takes only that.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir.program import Program

_OFFSET = 128


def make_unsigned(program: Program) -> None:
    """Let activations that are quantized to int8 with a zero point be uint8, in place.

    A tensor keeps its type where anything but a DequantizeLinear reads the integers, or where they are an
    output of the program. Integers that are an input are taken as they come and shifted once.
    """
    own = [node for node in program.nodes if _quantizes(node)]
    taken = [node for node in program.nodes if _dequantizes_an_input(node)]
    if not any(_zero_point(node).any() for node in (*own, *taken)):
        return
    for node in own:
        _shift(program.graph, node)
    for node in taken:
        _requantize(program.graph, node)


def _zero_point(node: oir.Node) -> NDArray[np.generic]:
    """The int8 zero point of a (De)QuantizeLinear; empty where it has none, or one that is not known."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or value.const_value is None or value.dtype != oir.DataType.INT8:
        return np.zeros(0, np.int8)
    return value.const_value.numpy()


def _quantizes(node: oir.Node) -> bool:
    """Whether a node makes int8 activations that only DequantizeLinear reads."""
    if node.op_type != "QuantizeLinear" or not _zero_point(node).size or node.outputs[0].is_graph_output():
        return False
    readers = [use.node for use in node.outputs[0].uses()]
    return all(r.op_type == "DequantizeLinear" and _zero_point(r).size for r in readers)


def _dequantizes_an_input(node: oir.Node) -> bool:
    if node.op_type != "DequantizeLinear" or _zero_point(node).size != 1:
        return False
    return node.inputs[0] is not None and node.inputs[0].is_graph_input() and bool(node.outputs[0].uses())


def _shift(graph: oir.Graph, node: oir.Node) -> None:
    """Let a QuantizeLinear and those that read it use integers 128 higher."""
    integers = node.outputs[0]
    zero = _constant(graph, f"{integers.name}__zero_point", _higher(node))
    node.replace_input_with(2, zero)
    node.attributes.pop("output_dtype", None)
    integers.type = oir.TensorType(oir.DataType.UINT8)
    for use in tuple(integers.uses()):
        use.node.replace_input_with(2, zero)


def _requantize(graph: oir.Graph, node: oir.Node) -> None:
    """Quantize what a DequantizeLinear of an input gives again, to the same steps: no value changes."""
    real, scale = node.outputs[0], node.inputs[1]
    zero = _constant(graph, f"{real.name}__zero_point", _higher(node))
    uses = tuple(real.uses())
    quantize = oir.node("QuantizeLinear", [real, scale, zero], name=f"{real.name}__quantize")
    integers = quantize.outputs[0]
    integers.name, integers.shape = f"{real.name}__integers", real.shape
    integers.type = oir.TensorType(oir.DataType.UINT8)
    again = oir.node("DequantizeLinear", [integers, scale, zero], name=f"{real.name}__dequantize")
    same = again.outputs[0]
    same.name, same.shape, same.type = f"{real.name}__same", real.shape, real.type
    graph.insert_after(node, [quantize, again])
    for use in uses:
        use.node.replace_input_with(use.idx, same)


def _higher(node: oir.Node) -> NDArray[np.uint8]:
    return (_zero_point(node).astype(np.int16) + _OFFSET).astype(np.uint8)


def _constant(graph: oir.Graph, name: str, array: NDArray[np.uint8]) -> oir.Value:
    tensor, kind = oir.tensor(array, name=name), oir.TensorType(oir.DataType.UINT8)
    value = oir.Value(name=name, shape=oir.Shape(array.shape), type=kind, const_value=tensor)
    graph.register_initializer(value)
    return value
