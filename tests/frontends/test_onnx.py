"""Any valid ONNX file becomes a program that computes the same; anything else ends in one clear line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgecut import frontends
from edgecut.frontends import normalize, shapes
from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.program import TensorSpec
from edgecut.ir.verify import verify

Run = Callable[[onnx.ModelProto, Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
Write = Callable[..., Path]

RELU = "g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"


def test_every_opset_from_11_computes_the_same_when_converted(
    tmp_path: Path, run: Run, rng: np.random.Generator
) -> None:
    x = rng.standard_normal((1, 3, 9, 9)).astype(np.float32)
    for opset in range(11, 24):
        proto = _old_style(opset)
        path = tmp_path / f"opset{opset}.onnx"
        onnx.save(proto, str(path))
        program = frontends.load(path)
        verify(program)
        assert program.graph.opset_imports[""] == max(opset, normalize.OPSET)
        ours, theirs = run(program.proto(), {"x": x})["y"], run(proto, {"x": x})["y"]
        # The same float32 operators in the same order: only a fused kernel could differ in the last bits.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=f"opset {opset}")


# Operators that were written otherwise before opset 11: nodes on x of [2, 3, 8, 8], and constants.
_OLDER: dict[str, tuple[range, str, dict[str, Any]]] = {
    "Upsample 7": (range(7, 9), "y = Upsample<mode = 'linear', scales = [1.0, 1.0, 2.0, 3.0]>(x)", {}),
    "Upsample to the nearest": (range(7, 9), "y = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(x)", {}),
    "Hardmax": (range(7, 11), "y = Hardmax<axis = 1>(x)", {}),
    "Hardmax without an axis": (range(7, 11), "y = Hardmax(x)", {}),
    "Upsample": (range(9, 10), "y = Upsample<mode = 'linear'>(x, s)", {"s": np.array([1, 1, 2, 3], "f4")}),
    "Resize up": (range(10, 11), "y = Resize<mode = 'nearest'>(x, s)", {"s": np.array([1, 1, 2.5, 2], "f4")}),
    "Resize down": (
        range(10, 11), "y = Resize<mode = 'nearest'>(x, s)", {"s": np.array([1, 1, 0.7, 1], "f4")}
    ),
    "Resize linear": (range(10, 11), "y = Resize<mode = 'linear'>(x, s)",
                      {"s": np.array([1, 1, 2.5, 0.6], "f4")}),
    "Slice": (range(7, 10), "y = Slice<axes = [2, 3], starts = [1, -4], ends = [9, -1]>(x)", {}),
    "Pad": (range(7, 11), "y = Pad<mode = 'constant', pads = [0, 0, 1, 2, 0, 0, 3, 0], value = 1.5>(x)", {}),
    "Clip": (range(7, 11), "y = Clip<min = -0.5, max = 0.25>(x)", {}),
    "TopK": (range(7, 10), "y, i = TopK<axis = 3, k = 3>(x)", {}),
    "Softmax": (range(7, 11), "y = Softmax<axis = 1>(x)", {}),
    "Softmax of rows": (range(7, 11), "r = Reshape(x, z) y = Softmax(r)", {"z": np.array([6, 64])}),
    "BatchNormalization": (range(7, 11), "y = BatchNormalization(x, c, c, c, c)",
                           {"c": np.array([0.5, 1, 2], "f4")}),
    "Dropout": (range(7, 11), "y = Dropout<ratio = 0.5>(x)", {}),
    "pools": (range(7, 11), "m = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x) "
              "y = AveragePool<kernel_shape = [2, 2], auto_pad = 'SAME_UPPER'>(m)", {}),
    "reductions": (range(7, 11), "m = ReduceMean<axes = [3], keepdims = 1>(x) q = Squeeze<axes = [3]>(m) "
                   "u = Unsqueeze<axes = [0]>(q) y = ReduceSum<axes = [2], keepdims = 0>(u)", {}),
    "Gemm": (range(7, 11), "f = Flatten<axis = 1>(x) y = Gemm<transB = 1>(f, w, b)",
             {"w": np.ones((5, 192), "f4"), "b": np.arange(5, dtype="f4")}),
    "PRelu and Sum": (range(7, 11), "a = PRelu(x, c) b = LeakyRelu(x) y = Sum(a, b, x)",
                      {"c": np.array([[[0.1]], [[0.2]], [[0.3]]], "f4")}),
    "Split and Concat": (range(7, 11),
                         "a, b = Split<axis = 1, split = [1, 2]>(x) y = Concat<axis = 1>(b, a)", {}),
    "ConvTranspose": (range(7, 11), "y = ConvTranspose<strides = [2, 2], output_padding = [1, 1]>(x, w)",
                      {"w": np.ones((3, 2, 3, 3), "f4") / 9}),
}  # fmt: skip


@pytest.mark.parametrize("case", list(_OLDER))
def test_what_was_written_otherwise_before_opset_11(
    case: str, tmp_path: Path, run: Run, rng: np.random.Generator
) -> None:
    versions, nodes, constants = _OLDER[case]
    x = rng.standard_normal((2, 3, 8, 8)).astype(np.float32)
    for opset in versions:
        text = f"g (float[2,3,8,8] x) => (y) {{ {nodes} }}".replace("'", '"')
        header = f'<ir_version: 5, opset_import: ["" : {opset}]>'
        proto = onnx.parser.parse_model(header + text)
        proto.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in constants.items())
        proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        path = tmp_path / f"opset{opset}.onnx"
        onnx.save(proto, str(path))
        program = frontends.load(path)
        verify(program)
        ours, theirs = run(program.proto(), {"x": x})["y"], run(proto, {"x": x})["y"]
        # The same float32 operators in the same order: only a fused kernel could differ in the last bits.
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6, err_msg=f"opset {opset}")


def test_group_normalization_with_a_scale_for_each_group(
    tmp_path: Path, run: Run, rng: np.random.Generator
) -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]>g (float[2,6,4] x) => (float[2,6,4] y)'
    text += "<float[3] s = {1, 2, 3}, float[3] b = {0.5, 0, -1}>"
    proto = onnx.parser.parse_model(text + "{ y = GroupNormalization<num_groups = 3>(x, s, b) }")
    onnx.save(proto, tmp_path / "m.onnx")
    x = rng.standard_normal((2, 6, 4)).astype(np.float32)
    ours, theirs = run(frontends.load(tmp_path / "m.onnx").proto(), {"x": x})["y"], run(proto, {"x": x})["y"]
    # The sums of the variance may be added in another order.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_resize_of_opset_10_that_rounds_both_ways_is_refused(tmp_path: Path) -> None:
    text = '<ir_version: 5, opset_import: ["" : 10]>g (float[1,1,4,4] x) => (float[1,1,8,2] y)'
    text += '<float[4] s = {1, 1, 2, 0.5}> { y = Resize<mode = "nearest">(x, s) }'
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="shrinks one dimension and enlarges another"):
        frontends.load(tmp_path / "m.onnx")


def test_opset_6_is_refused(write: Write) -> None:
    with pytest.raises(ModelError, match=r"is of opset 6.*opset 7 or newer"):
        frontends.load(write(RELU, opset=6))


def test_an_opset_of_the_future_is_refused(write: Write) -> None:
    with pytest.raises(ModelError, match="is of opset 900; this onnx knows up to"):
        frontends.load(write(RELU, opset=900))


def test_a_quantized_model_keeps_its_integers(write: Write, run: Run, rng: np.random.Generator) -> None:
    """QDQ of opset 13, as other tools write it, becomes that of the newer opset bit for bit."""
    path = write("""g (float[1,3,4,4] x) => (float[1,2,4,4] y)
        <float s = {0.02}, uint8 z = {128}, int8[2,3,1,1] wq = {1,-2,3,100,-127,6},
         float[2] ws = {0.01,0.03}, int8[2] wz = {0,0}> {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        w = DequantizeLinear<axis = 0>(wq, ws, wz) y = Conv(d, w) }""", opset=13)  # fmt: skip
    program = frontends.load(path)
    assert [n.op_type for n in program.nodes].count("DequantizeLinear") == 2
    x = {"x": rng.standard_normal((1, 3, 4, 4)).astype(np.float32)}
    np.testing.assert_array_equal(run(program.proto(), x)["y"], run(onnx.load(str(path)), x)["y"])


def test_an_open_batch_dimension_becomes_one_everywhere(write: Write) -> None:
    path = write("g (float[N,4] x, float[N,4] z) => (float[N,4] y) { y = Add(x, z) }")
    program = frontends.load(path)
    assert [spec.shape for spec in (*program.inputs, *program.outputs)] == [(1, 4)] * 3


def test_a_shape_given_for_one_input_holds_for_its_symbols(write: Write) -> None:
    path = write("g (float[N,T] x, float[T] z) => (float[N,T] y) { y = Add(x, z) }")
    program = frontends.load(path, {"x": (2, 5)})
    assert [spec.shape for spec in program.inputs] == [(2, 5), (5,)]
    assert program.outputs == [TensorSpec("y", "float32", (2, 5))]


def test_another_open_dimension_asks_for_a_shape(write: Write) -> None:
    path = write("g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu(x) }")
    with pytest.raises(
        ModelError, match=r"input 'x' has the open shape \[N, 3, H, W\] \(--shape x=1,3,N,N\)"
    ):
        frontends.load(path)
    assert frontends.load(path, {"x": (1, 3, 8, 6)}).outputs[0].shape == (1, 3, 8, 6)


def test_shapes_of_other_inputs_or_ranks_are_refused(write: Write) -> None:
    path = write(RELU)
    with pytest.raises(UsageError, match=r"no input 'q'.*the model has: x"):
        frontends.load(path, {"q": (1,)})
    with pytest.raises(ModelError, match="input 'x' has 2 dimensions, --shape gives 1"):
        frontends.load(path, {"x": (4,)})


@pytest.mark.parametrize("text", ["x", "=1,2", "x=", "x=1,,2", "x=0", "x=a", "x=-1"])
def test_a_malformed_shape_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="NAME=1,3,224,224"):
        shapes.parse((text,))


def test_a_shape_may_name_inputs_with_an_equals_sign() -> None:
    assert shapes.parse(("a=b=1,2", "c=3")) == {"a=b": (1, 2), "c": (3,)}


def test_an_unknown_operator_is_named_with_its_node(write: Write) -> None:
    body = "g (float[1,4] x) => (float[1,4] y) { [odd] y = acme.Frobnicate(x) }"
    with pytest.raises(ModelError, match=r"unknown operator acme\.Frobnicate in node 'odd'"):
        frontends.load(write(body, imports=', "acme" : 1'))


def test_a_tensor_that_nothing_computes_is_named(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    body = "g (float[1,4] x) => (float[1,4] y) { [sum] y = Add(x, nowhere) }"
    with pytest.raises(ModelError, match="node 'sum' reads 'nowhere', which nothing computes"):
        frontends.load(write(body))
    assert not caplog.records


def test_functions_are_inlined(run: Run, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,4] x) => (float[1,4] y) { y = local.twice(x) }
        <domain: "local", opset_import: ["" : 17]>
        twice (a) => (b) { b = Add(a, a) }"""
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "f.onnx"))
    program = frontends.load(tmp_path / "f.onnx")
    assert [node.op_type for node in program.nodes] == ["Add"]
    x = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(run(program.proto(), {"x": x})["y"], 2 * x)


def test_initializers_are_no_inputs(write: Write) -> None:
    path = write("g (float[1,4] x, float[4] w) => (float[1,4] y) <float[4] w = {1,2,3,4}> { y = Mul(x, w) }")
    program = frontends.load(path)
    assert [spec.name for spec in program.inputs] == ["x"]
    assert [value.name for value in program.graph.inputs] == ["x"]


def test_nodes_get_unique_names_and_a_sorted_order(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[1,4] x) => (float[1,4] y) { a = Relu(x) y = Neg(a) }"
    )
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    onnx.save(proto, str(tmp_path / "m.onnx"))
    program = frontends.load(tmp_path / "m.onnx")
    assert [node.name for node in program.nodes] == ["Relu_a", "Neg_y"]
    verify(program)


def test_external_data_stand_beside_the_file(tmp_path: Path, run: Run) -> None:
    weight = np.arange(4096, dtype=np.float32).reshape(64, 64)
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>g (float[1,64] x) => (float[1,64] y) { y = MatMul(x, w) }'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "big.onnx"
    onnx.save(proto, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    program = frontends.load(path)
    x = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(run(program.proto(), {"x": x})["y"], x @ weight, rtol=1e-6)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelError, match="external data"):
        frontends.load(path)


def test_a_model_with_a_subgraph_is_read(write: Write, run: Run) -> None:
    path = write("""g (bool c, float[1,4] x) => (float[1,4] y) {
        y = If (c) <
            then_branch = t () => (float[1,4] p) { p = Relu(x) },
            else_branch = e () => (float[1,4] q) { q = Neg(x) }
        > }""", opset=13)  # fmt: skip
    program = frontends.load(path)
    x = np.array([[-1, 2, -3, 4]], np.float32)
    for condition, expected in ((True, np.maximum(x, 0)), (False, -x)):
        found = run(program.proto(), {"c": np.array(condition), "x": x})["y"]
        np.testing.assert_array_equal(found, expected)


def test_weights_are_neither_changed_nor_lost(root: Path) -> None:
    path = root / "fixtures" / "digits.onnx"
    program = frontends.load(path)
    for tensor in onnx.load(str(path)).graph.initializer:
        found = program.graph.initializers[tensor.name].const_value
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), onnx.numpy_helper.to_array(tensor))


def test_the_zoo_is_read(zoo: Path) -> None:
    for path in sorted((zoo / "models").glob("*.onnx")):
        program = frontends.load(path)
        verify(program)
        proto = onnx.load(str(path))
        assert [spec.name for spec in program.inputs] == [v.name for v in proto.graph.input]
        assert [spec.name for spec in program.outputs] == [v.name for v in proto.graph.output]


@pytest.mark.parametrize("body", [
    "g (float[1,4] x) => (float[1,4] y) { y = Add(x, nowhere) }",
    "g (float[1,4] x) => (float[1,4] y) { a = Relu(b) b = Relu(a) y = Add(x, a) }",
    "g (float[1,4] x) => (float[1,4] y) { y = MatMul(x, x) }",
    "g (float[1,4] x) => (float[1,4] y) { y = Relu(x, x) }",
    "g (float[1,4] x) => (float[1,4] y) { y = Softmax<nonsense = 3>(x) }",
    "g (seq(float[1,4]) x) => (int64 y) { y = SequenceLength(x) }",
])  # fmt: skip
def test_an_invalid_graph_is_one_clear_line(write: Write, body: str) -> None:
    with pytest.raises(ModelError) as caught:
        frontends.load(write(body))
    assert "\n" not in str(caught.value)
    assert "model.onnx" in str(caught.value)


def test_files_that_are_no_models(tmp_path: Path, root: Path) -> None:
    whole = (root / "fixtures" / "digits.onnx").read_bytes()
    cases = {"empty.onnx": b"", "text.onnx": b"hello, world\n", "half.onnx": whole[: len(whole) // 2]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            frontends.load(tmp_path / name)
    with pytest.raises(ModelError, match="no such file"):
        frontends.load(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match=r"is a folder without a saved_model\.pb"):
        frontends.load(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"torch\.export\.save"):
        frontends.load(tmp_path / "weights.pth")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_ends_in_a_traceback(data: st.DataObject, tmp_path: Path, root: Path) -> None:
    content = bytearray((root / "fixtures" / "digits.onnx").read_bytes())
    # Weights are most of the file; damage is interesting in the graph, at both ends.
    position = st.integers(0, 4000) | st.integers(len(content) - 8000, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(position)] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content[:kept])
    message = ""
    try:
        verify(frontends.load(path))
    except EdgecutError as error:
        message = str(error)
    assert "\n" not in message


def _old_style(opset: int) -> onnx.ModelProto:
    """Operators whose inputs and attributes changed between opset 11 and 18, written for each."""
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Clip", ["c", "low", "high"], ["l"]),
        onnx.helper.make_node("Pad", ["l", "pads"], ["p"]),
        onnx.helper.make_node("Resize", ["p", *["", "scales"]], ["r"], mode="nearest")
        if opset > 12
        else onnx.helper.make_node("Resize", ["p", "roi", "scales"], ["r"], mode="nearest"),
        onnx.helper.make_node("ReduceMean", ["r", "axes"], ["m"], keepdims=1)
        if opset > 17
        else onnx.helper.make_node("ReduceMean", ["r"], ["m"], axes=[2, 3], keepdims=1),
        onnx.helper.make_node("Squeeze", ["m", "axes"], ["s"])
        if opset > 12
        else onnx.helper.make_node("Squeeze", ["m"], ["s"], axes=[2, 3]),
        onnx.helper.make_node("Softmax", ["s"], ["y"], axis=1),
    ]
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    constants = {
        "w": weight, "low": np.float32(0), "high": np.float32(6), "roi": np.zeros(0, np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "axes": np.array([2, 3], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes,
        "old",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 9, 9])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=8 if opset < 20 else 10)


def test_annotations_of_others_survive(write: Write) -> None:
    path = write(RELU, opset=13)
    proto = onnx.load(str(path))
    proto.metadata_props.add(key="author", value="someone")
    onnx.save(proto, str(path))
    assert frontends.load(path).model.metadata_props["author"] == "someone"
    assert isinstance(frontends.load(path).model, oir.Model)
