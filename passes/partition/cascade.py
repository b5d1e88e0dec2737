"""What a router's cloud runs, and what edge and cloud say to real inputs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.frontends.data import Dataset
from edgecut.frontends.images import Images
from edgecut.ir import annotations, extract, store, work
from edgecut.ir.annotations import Cost, Cut, Quantization
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program, static_shape
from edgecut.passes import numerics
from edgecut.passes.numerics import Array, Runner, Sample
from edgecut.passes.partition.problem import Mask
from edgecut.passes.partition.threshold import Seen
from edgecut.runtime.router import margin


@dataclass(frozen=True)
class CloudHalf:
    """A way to ask the cloud: what is sent, and the program that goes on from there in float."""

    cut: Cut
    program: Program
    seconds: float
    """On the cloud target, from the profile of the float program."""


def scores_output(program: Program) -> str:
    """The graph output that is one row of class scores.

    Raises:
        ConstraintError: There is none.
    """
    for spec in program.outputs:
        shape = spec.shape
        if len(shape) == 2 and shape[0] == 1 and isinstance(shape[1], int) and shape[1] > 1:
            return spec.name
    what = "no output is a row of class scores [1, classes], so nothing says how sure an answer is"
    raise ConstraintError(what, where="mode=input")


def float_program(program: Program) -> Program:
    """The float program that a quantized one was made of; itself where it is in float."""
    found = annotations.get(program.model, Quantization)
    kept = store.get(found.original) if found and found.original else None
    return kept or program


def whole(program: Program, cut: Cut) -> CloudHalf:
    """The imported model in the cloud, on the inputs."""
    return CloudHalf(cut, numerics.reference(program), whole_seconds(program))


def whole_seconds(program: Program) -> float:
    """Cloud seconds of the imported model."""
    return _seconds(float_program(program), work_of=numerics.reference(program))


def rest(program: Program, cut: Cut, real: Program) -> CloudHalf | None:
    """The float program from the crossing tensors on; None where they are not those of the float program.

    Args:
        program: The program whose edge half makes the crossing tensors.
        cut: What crosses.
        real: The float program.
    """
    values, known = program.values(), real.values()
    sources = [_real_name(values[name]) for name in cut.crossing]
    for name, source in zip(cut.crossing, sources, strict=True):
        if source not in known or static_shape(known[source]) != static_shape(values[name]):
            return None
    outputs = [spec.name for spec in real.outputs]
    part = extract.subgraph(real, sources, outputs, f"{real.graph.name}_cloud").copy()
    inputs = {value.name: value for value in part.graph.inputs}
    for name, source in zip(cut.crossing, sources, strict=True):
        if name != source:
            _take_integers(part, inputs[source], values[name])
    return CloudHalf(cut, part, _seconds(part, work_of=part))


def watch(
    program: Program,
    halves: Sequence[CloudHalf],
    samples: Iterable[Sample],
    straight: Mask,
    advance: Callable[[], None],
) -> list[Seen]:
    """Run edge, cloud and imported model on samples; one record for each way to ask the cloud.

    ONNX Runtime stands in for the edge's kernels, operator by operator.

    Args:
        program: What the edge runs.
        halves: Ways to ask the cloud.
        samples: Inputs.
        straight: Which of them are too large for the edge.
        advance: Called after each sample.
    """
    scores = scores_output(program)
    sent = list(dict.fromkeys(name for half in halves for name in half.cut.crossing))
    inputs = {spec.name for spec in program.inputs}
    edge = Runner(program, [name for name in sent if name not in inputs], optimize=False)
    reference, clouds = Runner(numerics.reference(program)), [Runner(half.program) for half in halves]
    margins: list[float] = []
    edge_agrees: list[bool] = []
    cloud_agrees: list[list[bool]] = [[] for _ in halves]
    for sample in samples:
        right = _top(reference(sample)[scores])
        made = {**sample, **edge(sample)}
        margins.append(margin(made[scores]))
        edge_agrees.append(_top(made[scores]) == right)
        for agrees, half, cloud in zip(cloud_agrees, halves, clouds, strict=True):
            found = cloud({name: made[name] for name in half.cut.crossing})
            agrees.append(_top(found[scores]) == right)
        advance()
    own, same = np.array(margins), np.array(edge_agrees, bool)
    return [Seen(own, same, np.array(agrees, bool), straight) for agrees in cloud_agrees]


def _top(scores: Array) -> int:
    return int(np.argmax(scores))


def _real_name(value: oir.Value) -> str:
    """The float value that a quantized one holds; its own name for others."""
    node = value.producer()
    source = node.inputs[0] if node is not None and node.op_type == "QuantizeLinear" else None
    return (source.name if source is not None else value.name) or ""


def _take_integers(part: Program, taken: oir.Value, held: oir.Value) -> None:
    """Let a program read the integers of a value in place of the value: ``(integers - zero) * scale``.

    Spelled out, since ONNX Runtime moves a DequantizeLinear about, and rejects what it makes of some.
    """
    node = held.producer()
    assert node is not None
    graph, first = part.graph, next(iter(part.graph))
    wire = oir.val(held.name, held.dtype, held.shape)
    value = wire
    scale, zero = (_number(node, index) for index in (1, 2))
    for step, operand in (("Cast", None), ("Sub", zero), ("Mul", scale)):
        name = f"{held.name}_wire_{step.lower()}"
        inputs, attributes = [value], {"to": 1} if operand is None else {}
        if operand is not None:
            inputs.append(oir.val(f"{name}_by", const_value=oir.tensor(operand, name=f"{name}_by")))
            graph.register_initializer(inputs[1])
        made = oir.node(step, inputs, attributes, name=name)
        value = made.outputs[0]
        value.name, value.shape, value.type = name, taken.shape, oir.TensorType(oir.DataType.FLOAT)
        graph.insert_before(first, made)
    graph.inputs[list(graph.inputs).index(taken)] = wire
    for user, index in list(taken.uses()):
        user.replace_input_with(index, value)


def _number(node: oir.Node, index: int) -> Array:
    """Scale or zero point of a QuantizeLinear, as float32; no zero point is 0."""
    given = node.inputs[index] if len(node.inputs) > index else None
    if given is None or given.const_value is None:
        return np.zeros((), np.float32)
    return given.const_value.numpy().astype(np.float32)


def _seconds(costed: Program, work_of: Program) -> float:
    """Cloud seconds by a program's profile, scaled by the multiply-accumulates where it is of another."""
    costs = [annotations.get(node, Cost) for node in costed.nodes]
    total = sum(cost.cloud.seconds for cost in costs if cost and cost.cloud)
    if costed is work_of:
        return total
    own, wanted = (sum(map(work.macs, p.nodes)) for p in (costed, work_of))
    return total * wanted / own if own else total


def sizes(data: Dataset) -> NDArray[np.int64]:
    """Bytes of each sample as it came: of its file where it is an image, else of its arrays."""
    files = [column.files for column in data.columns.values() if isinstance(column, Images)]
    if files:
        return np.array([sum(f.stat().st_size for f in some) for some in zip(*files, strict=True)], np.int64)[
            : len(data)
        ]
    return np.array([sum(array.nbytes for array in sample.values()) for sample in data], np.int64)
