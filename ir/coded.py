"""Puts an encoding into programs.

Its linear part stands at the end of the edge half, the inverse at the head of the cloud half. Both with
the rounding between them in the midst of the whole are the codec's reference.

What is linear before and after is folded: behind a convolution that makes the value the encoder is a
convolution of its own with other weights, and a 1x1 convolution that alone reads it takes the decoder in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import annotations, encoding, transform
from edgecut.ir.annotations import Coder, Coding, Cut
from edgecut.ir.encoding import Spec
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape
from edgecut.ir.transform import Transform

FLOAT = oir.DataType.FLOAT
HINT = "run the pass boundary with this encoding"


@dataclass(frozen=True)
class Coded:
    """How one crossing value of a cut is sent."""

    value: str
    spec: Spec
    name: str
    """Name of what the edge half gives and the cloud half takes."""
    dtype: str
    """Type of the integers (or halves) that the cloud half takes ..."""
    shape: tuple[int, ...]
    """... in this shape; of the value itself where `is_transformed` is false."""
    coder: Coder | None
    transform: Transform | None

    @property
    def is_transformed(self) -> bool:
        """Whether the halves compute something for it."""
        return self.transform is not None


def of_cut(program: Program, cut: Cut) -> list[Coded]:
    """How the crossing values of a cut are sent, in order.

    Raises:
        ModelError: A value was not fitted for its encoding.
        UsageError: There is no such encoding.
    """
    names = cut.encodings or tuple("" for _ in cut.crossing)
    return [of_value(program, v, n) for v, n in zip(cut.crossing, names, strict=True)]


def of_value(program: Program, name: str, text: str = "") -> Coded:
    """How a value is sent under an encoding; empty: as it is held.

    Raises:
        ModelError: The value was not fitted for it.
        UsageError: There is no such encoding.
    """
    value = program.value(name)
    shape, dtype = static_shape(value), _dtype(value)
    if shape is None:
        raise ModelError("has no static shape", where=name, hint="give --shape")
    spec = encoding.parse(text) if text else encoding.held(dtype)
    coding = annotations.get(value, Coding)
    coder = coding.coders.get(str(spec)) if coding else None
    if spec.coder == "rans" and coder is None:
        raise ModelError(f"has no coder for {spec}", where=name, hint=HINT)
    if spec.kind in (dtype, "float16"):
        return Coded(name, spec, name, spec.kind, shape, coder, None)
    if coding is None or coder is None:
        raise ModelError(f"has no coder for {spec}", where=name, hint=HINT)
    made = transform.make(spec, coding, shape)
    narrow = coder.low >= -128 and coder.high <= 127
    integers = "int8" if narrow else "int16"
    return Coded(name, spec, f"{name}@{spec}", integers, made.coded_shape, coder, made)


def with_encoders(program: Program, cuts: Sequence[Cut]) -> tuple[Program, list[Cut]]:
    """A program that computes what is sent as further outputs, and the cuts at those."""
    made, found = program.copy(), []
    done: set[str] = set()
    for cut in cuts:
        coded = of_cut(program, cut)
        for item in coded:
            if item.is_transformed and item.name not in done:
                done.add(item.name)
                _encode(made, item)
        found.append(replace(cut, crossing=tuple(item.name for item in coded), encodings=()))
    return (made, found) if done else (program, found)


def take_coded(cloud: Program, coded: Sequence[Coded]) -> None:
    """Change the inputs of a cloud half, in place, to take integers (or halves) as they are sent."""
    for item in coded:
        value = next((v for v in cloud.graph.inputs if v.name == item.value), None)
        if value is not None and (item.is_transformed or item.dtype != _dtype(value)):
            _decode(cloud, item, value)


def reference(program: Program, cut: Cut) -> Program:
    """The whole program with the crossing values of a cut encoded, rounded and decoded in its midst.

    It runs in ONNX Runtime and is what both halves together, with the coder between them, have to give; but
    every reader of a crossing value gets what was decoded, those on the edge too, if there are any.
    """
    made = program.copy()
    send(made, of_cut(program, cut))
    return made


def send(program: Program, coded: Sequence[Coded]) -> None:
    """Change a program, in place: whatever reads one of these values gets it encoded, rounded and decoded."""
    for item in coded:
        value = program.value(item.value)
        readers = list(value.uses())
        if item.transform is None:
            if item.spec.kind == "float16" and _dtype(value) != "float16":
                chain = _Chain(program, f"{item.value}@{item.spec}")
                half = chain.add("Cast", [value], item.shape, {"to": int(oir.DataType.FLOAT16)})
                half.type = oir.TensorType(oir.DataType.FLOAT16)
                _redirect(readers, chain.add("Cast", [half], item.shape, {"to": int(FLOAT)}))
            continue
        encoded = _encode(program, item, output=False)
        chain = _Chain(program, f"{item.name}_rounded")
        half = chain.constant("half", np.array(item.transform.rounding))
        size = chain.add("Abs", [encoded], item.shape)
        size = chain.add("Floor", [chain.add("Add", [size, half], item.shape)], item.shape)
        whole = chain.add("Mul", [size, chain.add("Sign", [encoded], item.shape)], item.shape)
        assert item.coder is not None
        limits = [
            chain.constant(n, np.array(v)) for n, v in (("low", item.coder.low), ("high", item.coder.high))
        ]
        whole = chain.add("Clip", [whole, *limits], item.shape)
        _redirect(readers, _back(program, item, whole, value))
    program.graph.sort()


def _encode(program: Program, item: Coded, *, output: bool = True) -> oir.Value:
    """Add what computes the transformed value, which becomes a graph output."""
    form, value = item.transform, program.value(item.value)
    assert form is not None
    chain, shape = _Chain(program, item.name), form.shape
    x = _folded_before(chain, form, value)
    if x is None:
        x = _mixed(chain, form, _as_float(chain, value), form.matrix, form.bias)
    x = chain.transposed(x, shape, form.order if not form.spectrum else (0, form.channel, *form.axes))
    if form.spectrum:
        x = _spectrum(chain, x, form, forward=True)
    if x.producer() is not None and x is not value:
        x.name = item.name
    if output:
        program.graph.outputs.append(x)
    return x


def _decode(cloud: Program, item: Coded, value: oir.Value) -> None:
    """Let an input take what was sent in place of the value."""
    readers = list(value.uses())
    kind = oir.DataType[item.dtype.upper()]
    if not item.is_transformed:
        chain = _Chain(cloud, f"{item.name}_from_half")
        back = chain.add("Cast", [value], item.shape, {"to": int(FLOAT)})
        value.type = oir.TensorType(kind)
        _redirect(readers, back)
        cloud.graph.sort()
        return
    sent = oir.Value(name=item.name, shape=oir.Shape(item.shape), type=oir.TensorType(kind))
    chain = _Chain(cloud, f"{item.name}_integers")
    numbers = chain.add("Cast", [sent], item.shape, {"to": int(FLOAT)})
    back_to = _back(cloud, item, numbers, value)
    if back_to is not None:
        _redirect(readers, back_to)
    inputs = cloud.graph.inputs
    inputs[list(inputs).index(value)] = sent
    cloud.graph.sort()


def _back(program: Program, item: Coded, coded: oir.Value, value: oir.Value) -> oir.Value | None:
    """Add the inverse; None where it has become a part of the only reader."""
    form = item.transform
    assert form is not None
    chain, x, shape = _Chain(program, f"{item.name}_decoded"), coded, form.shape
    held = form.order
    if form.spectrum:
        x = _spectrum(chain, x, form, forward=False)
        held = (0, form.channel, *form.axes)
    back = tuple(held.index(axis) for axis in range(len(shape)))
    x = chain.transposed(x, tuple(shape[a] for a in held), back)
    if _folded_after(chain, form, value, x):
        return None
    x = _mixed(chain, form, x, form.inverse, form.offset)
    x = chain.add("Relu", [x], shape) if form.clamp else x
    return _as_held(chain, x, value)


def _mixed(chain: "_Chain", form: Transform, x: oir.Value, matrix: Any, bias: Any) -> oir.Value:
    """``matrix @ x + bias`` along the channels."""
    rank, axis, shape = len(form.shape), form.channel, form.shape
    if matrix.ndim == 1:
        along = [-1 if a == axis else 1 for a in range(rank)]
        x = chain.add("Mul", [x, chain.constant("factor", matrix.reshape(along))], shape)
        return chain.add("Add", [x, chain.constant("bias", bias.reshape(along))], shape)
    if axis == rank - 1:
        x = chain.add("MatMul", [x, chain.constant("matrix", matrix.T)], shape)
        return chain.add("Add", [x, chain.constant("bias", bias)], shape)
    kernel = chain.constant("matrix", matrix.reshape(*matrix.shape, *[1] * (rank - 2)))
    return chain.add("Conv", [x, kernel, chain.constant("bias", bias)], shape)


def _spectrum(chain: "_Chain", x: oir.Value, form: Transform, *, forward: bool) -> oir.Value:
    """The cosine transform of the axes behind the channels, which it leaves in reverse order; or back."""
    shape = list(static_shape(x) or ())
    for i in range(len(form.axes)):
        if i:
            perm = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
            x = chain.transposed(x, tuple(shape), perm)
            shape = [shape[p] for p in perm]
        # Forward the last axis comes first, and back the first one.
        rows = form.waves(len(form.axes) - 1 - i).T if forward else form.waves(i, back=True)
        x = chain.add("MatMul", [x, chain.constant("cosines", rows)], tuple(shape))
    return x


def _folded_before(chain: "_Chain", form: Transform, value: oir.Value) -> oir.Value | None:
    """A convolution that gives the mixed channels at once, where a convolution makes the value."""
    node = value.producer()
    weights = _weights(node) if node is not None and form.channel == 1 else None
    if node is None or weights is None or len(node.outputs) != 1:
        return None
    kernel, bias = weights
    mix = _square(form.matrix)
    mixed = np.tensordot(mix, kernel.astype(np.float64), axes=1)
    bias = mix @ bias + form.bias
    inputs = [node.inputs[0], chain.constant("matrix", mixed), chain.constant("bias", bias)]
    return chain.add("Conv", inputs, form.shape, dict(node.attributes))


def _folded_after(chain: "_Chain", form: Transform, value: oir.Value, x: oir.Value) -> bool:
    """Whether the only reader is a 1x1 convolution, which now undoes the mixing too."""
    uses = list(value.uses())
    if form.clamp or form.channel != 1 or len(uses) != 1 or value.is_graph_output() or uses[0].idx != 0:
        return False
    node = uses[0].node
    weights = _weights(node)
    if weights is None or any(d != 1 for d in weights[0].shape[2:]) or _pads(node):
        return False
    kernel, bias = weights
    flat = kernel.reshape(kernel.shape[:2]).astype(np.float64)
    bias = bias + flat @ form.offset
    mixed = (flat @ _square(form.inverse)).reshape(kernel.shape)
    changed = (x, chain.constant("kernel", mixed), chain.constant("bias", bias))
    node.resize_inputs(3)
    for i, new in enumerate(changed):
        node.replace_input_with(i, new)
    return True


def _weights(node: oir.Node) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Kernel and bias of a convolution of one group with constant float weights."""
    group = node.attributes.get("group")
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx") or (group and group.as_int() != 1):
        return None
    found = [None if v is None else v.const_value for v in node.inputs[1:]]
    if found[0] is None or (len(node.inputs) > 2 and node.inputs[2] is not None and found[1] is None):
        return None
    kernel = found[0].numpy()
    bias = found[1].numpy() if len(found) > 1 and found[1] is not None else np.zeros(len(kernel))
    return (kernel, bias.astype(np.float64)) if kernel.dtype == np.float32 else None


def _pads(node: oir.Node) -> bool:
    pads, auto = node.attributes.get("pads"), node.attributes.get("auto_pad")
    return bool(pads and any(pads.as_ints())) or bool(auto and auto.as_string() not in ("NOTSET", "VALID"))


def _square(matrix: NDArray[Any]) -> NDArray[np.float64]:
    wide = matrix.astype(np.float64)
    return wide if wide.ndim == 2 else np.diag(wide)


def _as_float(chain: "_Chain", value: oir.Value) -> oir.Value:
    """The numbers that a value stands for: of a quantized one, those that its readers make of it."""
    if value.dtype == FLOAT:
        return value
    node = quantizer(value)
    assert node is not None
    return chain.add("DequantizeLinear", [value, *node.inputs[1:]], tuple(value.shape or ()), _axis(node))


def _as_held(chain: "_Chain", x: oir.Value, value: oir.Value) -> oir.Value:
    if value.dtype == FLOAT:
        return x
    node = quantizer(value)
    assert node is not None
    found = chain.add("QuantizeLinear", [x, *node.inputs[1:]], tuple(value.shape or ()), _axis(node))
    found.type = value.type
    return found


def quantizer(value: oir.Value) -> oir.Node | None:
    """The DequantizeLinear that says what a quantized value stands for."""
    readers = [use.node for use in value.uses()]
    return next((n for n in readers if n.op_type == "DequantizeLinear" and n.inputs[0] is value), None)


def _axis(node: oir.Node) -> dict[str, Any]:
    return {k: a for k, a in node.attributes.items() if k == "axis"}


def _redirect(readers: Sequence[Any], new: oir.Value | None) -> None:
    for use in readers if new is not None else ():
        use.node.replace_input_with(use.idx, new)


def _dtype(value: oir.Value) -> str:
    return value.dtype.numpy().name if value.dtype is not None else ""


class _Chain:
    """New nodes at the end of a graph, named after what they are for."""

    def __init__(self, program: Program, name: str) -> None:
        self._graph, self._name, self._count = program.graph, name, 0

    def add(
        self,
        op: str,
        inputs: Sequence[oir.Value | None],
        shape: Sequence[Any],
        attributes: dict[str, Any] | None = None,
    ) -> oir.Value:
        """A node with one output of float32."""
        node = oir.node(op, list(inputs), attributes or {}, name=self._free(op.lower()))
        value = node.outputs[0]
        value.name, value.shape, value.type = node.name, oir.Shape(shape), oir.TensorType(FLOAT)
        self._graph.append(node)
        return value

    def transposed(self, x: oir.Value, shape: tuple[int, ...], perm: Sequence[int]) -> oir.Value:
        """The value with its axes in another order; itself where that is its own."""
        if tuple(perm) == tuple(range(len(perm))):
            return x
        return self.add("Transpose", [x], [shape[p] for p in perm], {"perm": list(perm)})

    def constant(self, what: str, array: NDArray[Any]) -> oir.Value:
        """An initializer of float32."""
        name = self._free(what)
        tensor = oir.tensor(np.ascontiguousarray(array, np.float32), name=name)
        value = oir.Value(
            name=name, shape=oir.Shape(array.shape), type=oir.TensorType(FLOAT), const_value=tensor
        )
        self._graph.initializers[name] = value
        return value

    def _free(self, what: str) -> str:
        self._count += 1
        return f"{self._name}_{what}_{self._count}"
