"""Transforms: invertible, the same in the graph as in NumPy, and folded where that costs nothing."""

from collections import Counter

import numpy as np
import onnx
import pytest

from edgecut.ir import annotations, coded, extract, transform
from edgecut.ir.annotations import Coder, Coding
from edgecut.ir.encoding import parse
from edgecut.ir.program import Program
from edgecut.passes.boundary import statistics
from edgecut.passes.numerics import Runner

KINDS = (
    "step{step=0.1}",
    "klt{step=0.1}",
    "dct{step=0.1}",
    "klt-dct{step=0.1}",
    "int8",
    "int8{axis=channel}",
)


def chain(linear: bool = True, reader: str = "Conv") -> Program:
    """Float32 ``x [1,3,8,6]`` - Conv - (Relu) - ``t [1,5,8,6]`` - 1x1 Conv or Relu - ``y``."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)

    node = onnx.helper.make_node
    nodes = [node("Conv", ["x", "w1", "b1"], ["t" if linear else "c"], "first", pads=[1, 1, 1, 1])]
    nodes += [] if linear else [node("Relu", ["c"], ["t"], "relu")]
    nodes += [node("Conv", ["t", "w2"], ["y"], "second") if reader == "Conv" else node("Relu", ["t"], ["y"])]
    weights = [weight("w1", 5, 3, 3, 3), weight("b1", 5), weight("w2", 4, 5, 1, 1)]
    floats, shape = onnx.TensorProto.FLOAT, [1, 4 if reader == "Conv" else 5, 8, 6]
    x = onnx.helper.make_tensor_value_info("x", floats, [1, 3, 8, 6])
    y = onnx.helper.make_tensor_value_info("y", floats, shape)
    graph = onnx.helper.make_graph(nodes, "chain", [x], [y], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    return Program.from_proto(onnx.shape_inference.infer_shapes(model))


def inputs(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 3, 8, 6)).astype(np.float32)} for _ in range(count)]


def fitted(program: Program, text: str) -> np.ndarray:
    """Annotate ``t`` for an encoding; gives its values on some inputs."""
    runner = Runner(program, ["t"])
    values = np.concatenate([runner(sample)["t"] for sample in inputs(20)])
    coding = statistics.of_value(values, 1)
    coder = Coder(-32767, 32767) if "step" in text else Coder(-128, 127)
    annotations.put(program.value("t"), Coding(**{**vars(coding), "coders": {str(parse(text)): coder}}))
    return values


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("text", KINDS)
def test_halves_and_numpy_compute_the_same(text: str, linear: bool) -> None:
    """To 1e-4 of a step's count: sums of up to 100 products in float32, in different orders."""
    text = text.replace("}", ",coder=none}") if "step" in text else text
    program = chain(linear)
    values = fitted(program, text)
    cut = extract.named_cut(program, "t")
    cut = type(cut)(cut.name, cut.crossing, encodings=(text,))
    (item,) = coded.of_cut(program, cut)
    form = item.transform
    assert form is not None
    edge, (inner,) = coded.with_encoders(program, [cut])
    _, cloud = extract.split(program, cut)
    assert cloud is not None
    coded.take_coded(cloud, [item])
    sent = Runner(extract.subgraph(edge, ["x"], inner.crossing, "edge"))(inputs(1)[0])[item.name]
    mine = form.forward(values[:1])
    assert sent.shape == item.shape == mine.shape
    assert np.abs(sent - mine).max() < 1e-4 * np.abs(mine).max()
    integers = np.rint(mine).astype(item.dtype)
    found = Runner(cloud)({item.name: integers})["y"]
    _, plain = extract.split(program, extract.named_cut(program, "t"))
    assert plain is not None
    wanted = Runner(plain)({"t": form.backward(integers.astype(np.float32))})["y"]
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("shape", [(4, 6, 8, 5), (4, 8, 12), (4, 12)])
def test_what_is_transformed_comes_back(text: str, shape: tuple[int, ...]) -> None:
    spec = parse(text)
    if spec.dct and len(shape) < 3:
        return
    values = np.random.default_rng(0).normal(1, 2, (50, *shape[1:])).astype(np.float32)
    for channel in (1, len(shape) - 1):
        coding = statistics.of_value(values, channel)
        form = transform.make(spec, coding, (1, *shape[1:]))
        back = form.backward(form.forward(values))
        assert np.abs(back - values).max() < 1e-4 * np.abs(values).max()


def test_orthonormal_rows_concentrate_the_energy() -> None:
    """Of smooth, correlated channels nearly all energy is in few of the transformed numbers."""
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(60, 3, 16, 16)).cumsum(axis=2).cumsum(axis=3)
    values = np.einsum("dc,nchw->ndhw", rng.normal(size=(8, 3)), smooth).astype(np.float32)
    coding = statistics.of_value(values, 1)
    power = np.square(
        transform.make(parse("klt-dct{step=1}"), coding, (1, *values.shape[1:])).forward(values)
    )
    largest = np.sort(power.mean(axis=0).ravel())[::-1]
    assert largest[: largest.size // 20].sum() > 0.95 * largest.sum()


def test_linear_neighbours_take_the_transform_in() -> None:
    """The encoder of a convolution's result is another convolution; a 1x1 reader becomes the decoder."""
    text = "klt{step=0.5,coder=none}"
    program = chain()
    fitted(program, text)
    cut = extract.named_cut(program, "t")
    cut = type(cut)(cut.name, cut.crossing, encodings=(text,))
    edge, (inner,) = coded.with_encoders(program, [cut])
    half = extract.subgraph(edge, ["x"], inner.crossing, "edge")
    assert Counter(n.op_type for n in half.nodes) == {"Conv": 1, "Transpose": 1}
    _, cloud = extract.split(program, cut)
    assert cloud is not None
    coded.take_coded(cloud, coded.of_cut(program, cut))
    assert Counter(n.op_type for n in cloud.nodes) == {"Cast": 1, "Transpose": 1, "Conv": 1}


def test_a_value_behind_a_relu_is_never_decoded_below_zero() -> None:
    text = "klt-dct{step=3,coder=none}"
    program = chain(linear=False, reader="Relu")
    values = fitted(program, text)
    coding = annotations.require(program.value("t"), Coding, "")
    form = transform.make(parse(text), coding, (1, 5, 8, 6))
    coarse = form.backward(np.rint(form.forward(values)))
    assert coarse.min() == 0
    assert values.min() == 0
