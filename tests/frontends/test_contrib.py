"""ONNX Runtime's own operators as standard ONNX: ONNX Runtime itself must get the same from both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecut import frontends
from edgecut.frontends import contrib
from edgecut.ir.errors import ModelError

RANDOM = np.random.default_rng(0)
BATCH, STEPS, HIDDEN, HEADS = 2, 4, 8, 2


def floats(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype("f4")


def session(proto: onnx.ModelProto) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model(
    kind: str, arrays: dict[str, Any], outputs: int, domain: str, opset: int, attributes: dict[str, Any]
) -> onnx.ModelProto:
    names = [n if a is not None else "" for n, a in arrays.items()]
    given = {n: a for n, a in arrays.items() if a is not None}
    node = helper.make_node(
        kind, names, [f"y{i}" for i in range(outputs)], "node", domain=domain, **attributes
    )
    first, *rest = given
    tensor = helper.np_dtype_to_tensor_dtype(given[first].dtype)
    graph = helper.make_graph(
        [node], "test", [helper.make_tensor_value_info(first, tensor, given[first].shape)],
        [helper.make_empty_tensor_value_info(f"y{i}") for i in range(outputs)],
        [numpy_helper.from_array(given[n], n) for n in rest],
    )  # fmt: skip
    mask = given.get("mask")
    if mask is not None:
        graph.value_info.append(helper.make_tensor_value_info("mask", TensorProto.INT32, mask.shape))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(contrib.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


X = {"x": floats(BATCH, STEPS, HIDDEN)}
VECTOR = {"gamma": floats(HIDDEN), "beta": floats(HIDDEN)}
Q: dict[str, Any] = {
    "x": RANDOM.integers(0, 255, (1, 2, 4, 4)).astype("u1"),
    "xs": np.float32(0.1),
    "xz": np.uint8(120),
}
OUT = {"ys": np.float32(0.2), "yz": np.uint8(100)}
BERT = {"x": floats(BATCH, STEPS, HIDDEN), "w": floats(HIDDEN, 3 * HIDDEN), "b": floats(3 * HIDDEN)}
MASK = {"mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "i4")}
WHOLE_BERT: dict[str, Any] = {
    "x": RANDOM.integers(0, 255, (BATCH, STEPS, HIDDEN)).astype("u1"),
    "w": RANDOM.integers(-127, 128, (HIDDEN, 3 * HIDDEN)).astype("i1"), "b": floats(3 * HIDDEN),
    "xs": np.float32(0.01), "ws": np.float32(0.005), "mask": None,
}  # fmt: skip
EMBED = {
    "ids": np.array([[1, 2, 3]], "i4"), "segments": np.array([[0, 0, 1]], "i4"), "words": floats(9, HIDDEN),
    "places": floats(5, HIDDEN), "kinds": floats(2, HIDDEN), **VECTOR,
}  # fmt: skip
CONV = {"x": floats(1, 3, 6, 6), "w": floats(4, 3, 3, 3), "b": floats(4)}
GEMM = {"x": floats(3, 4), "w": floats(4, 5), "c": floats(5)}

MATRIX = RANDOM.integers(-127, 128, (8, 5)).astype("i1")
DYNAMIC: dict[str, Any] = {"x": floats(3, 8), "w": MATRIX, "s": np.float32(0.02)}
WHOLE = {"x": Q["x"].reshape(4, 8), "w": MATRIX, "xs": np.float32(0.1), "ws": np.float32(0.02)}

LAST: dict[str, Any] = {**Q, "x": Q["x"].transpose(0, 2, 3, 1)}
KERNELS = {
    "w": RANDOM.integers(-127, 128, (3, 2, 3, 3)).astype("i1"), "ws": np.array([0.01, 0.02, 0.03], "f4"),
    "wz": np.zeros(3, "i1"), **OUT, "b": np.array([100, -50, 0], "i4"),
}  # fmt: skip
ROWS: dict[str, Any] = {"x": Q["x"].reshape(4, 8), "xs": np.float32(0.1), "xz": np.uint8(120)}
COLUMNS = {"ws": np.array([0.01, 0.02, 0.03, 0.01, 0.05], "f4"), "wz": np.zeros(5, "i1")}
SINGLE = {"ws": np.float32(0.02), "wz": np.int8(4)}

CASES: list[tuple[str, dict[str, Any], int, dict[str, Any]]] = [
    ("FusedMatMul", {"x": floats(2, 3, 4), "w": floats(2, 5, 4)}, 1, {"transB": 1, "alpha": 0.5}),
    ("FusedMatMul", {"x": floats(2, 4, 3), "w": floats(4, 5)}, 1, {"transA": 1}),
    ("FusedConv", CONV, 1, {"activation": "Relu", "pads": [1, 1, 1, 1]}),
    ("FusedConv", CONV, 1, {"activation": "LeakyRelu", "activation_params": [0.3]}),
    ("FusedConv", CONV, 1, {"activation": "Clip", "activation_params": [-0.5, 1.0]}),
    ("FusedConv", CONV | {"z": floats(1, 4, 6, 6)}, 1, {"activation": "Relu", "pads": [1, 1, 1, 1]}),
    ("FusedGemm", GEMM, 1, {"activation": "LeakyRelu", "activation_alpha": 0.2}),
    ("Gelu", X, 1, {}),
    ("BiasGelu", X | {"b": floats(HIDDEN)}, 1, {}),
    ("FastGelu", X | {"b": floats(HIDDEN)}, 1, {}),
    ("FastGelu", X, 1, {}),
    ("QuickGelu", X, 1, {"alpha": 1.5}),
    ("SkipLayerNormalization", X | {"skip": floats(BATCH, STEPS, HIDDEN)} | VECTOR, 1, {"epsilon": 1e-5}),
    ("SkipLayerNormalization", X | {"skip": X["x"] * 2} | VECTOR | {"bias": floats(HIDDEN)}, 1, {}),
    ("SkipSimplifiedLayerNormalization", X | {"skip": X["x"] * 2, "gamma": VECTOR["gamma"]}, 1, {}),
    ("EmbedLayerNormalization", EMBED | {"mask": np.array([[1, 1, 0]], "i4")}, 2, {}),
    ("Attention", BERT, 1, {"num_heads": HEADS}),
    ("Attention", BERT | MASK, 1, {"num_heads": HEADS}),
    ("Attention", BERT | MASK, 1, {"num_heads": HEADS, "scale": 0.3}),
    ("Attention", BERT, 1, {"num_heads": HEADS, "unidirectional": 1}),
    ("Attention", BERT | MASK, 1, {"num_heads": HEADS, "unidirectional": 1}),
    ("QAttention", WHOLE_BERT, 1, {"num_heads": HEADS}),
    ("QAttention", WHOLE_BERT | MASK | {"xz": np.uint8(120), "wz": np.int8(0)}, 1,
     {"num_heads": HEADS, "unidirectional": 1}),
    ("MultiHeadAttention", X | {"k": floats(BATCH, 5, HIDDEN), "v": floats(BATCH, 5, HIDDEN)}
     | {"b": floats(3 * HIDDEN)}, 1, {"num_heads": HEADS}),
    ("MultiHeadAttention", X | {"k": floats(BATCH, 5, HIDDEN), "v": floats(BATCH, 5, HIDDEN)}, 1,
     {"num_heads": HEADS}),
    ("QLinearAdd", Q | {"z": Q["x"][::-1], "zs": np.float32(0.3), "zz": np.uint8(5)} | OUT, 1, {}),
    ("QLinearSigmoid", Q | OUT, 1, {}),
    ("QLinearGlobalAveragePool", Q | OUT, 1, {"channels_last": 0}),
    ("QLinearMul", Q | {"z": Q["x"][::-1], "zs": np.float32(0.3), "zz": np.uint8(5)} | OUT, 1, {}),
    ("QLinearLeakyRelu", Q | OUT, 1, {"alpha": 0.3}),
    ("QLinearAveragePool", Q | OUT, 1, {"kernel_shape": [2, 2], "channels_last": 0}),
    ("DynamicQuantizeMatMul", DYNAMIC, 1, {}),
    ("DynamicQuantizeMatMul", DYNAMIC | {"z": np.int8(3), "b": floats(5)}, 1, {}),
    ("MatMulIntegerToFloat", WHOLE, 1, {}),
    ("MatMulIntegerToFloat", WHOLE | {"xz": np.uint8(7), "wz": np.int8(-2), "b": floats(5)}, 1, {}),
    ("QLinearConv", LAST | KERNELS, 1, {"channels_last": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("QLinearConv", Q | KERNELS, 1, {"channels_last": 0, "strides": [2, 1]}),
    ("QLinearAveragePool", LAST | OUT, 1, {"kernel_shape": [2, 2], "channels_last": 1}),
    ("QLinearGlobalAveragePool", LAST | OUT, 1, {"channels_last": 1}),
    ("NhwcMaxPool", {"x": LAST["x"]}, 1, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("QGemm", ROWS | {"w": MATRIX} | COLUMNS | {"c": np.arange(5, dtype="i4")} | OUT, 1, {}),
    ("QGemm", ROWS | {"w": MATRIX.T.copy()} | COLUMNS | {"c": None}, 1, {"transB": 1, "alpha": 0.5}),
    ("QGemm", ROWS | {"w": MATRIX} | SINGLE | {"c": np.array([7], "i4")} | OUT, 1, {}),
    ("QLinearSoftmax", Q | {"ys": np.float32(1 / 256), "yz": np.uint8(0)}, 1, {"opset": 13, "axis": -1}),
    ("QLinearSoftmax", Q | {"ys": np.float32(1 / 256), "yz": np.uint8(0)}, 1, {"opset": 12, "axis": 2}),
    ("QLinearConcat", {"ys": OUT["ys"], "yz": OUT["yz"], **Q}, 1, {"axis": 1}),
]  # fmt: skip


@pytest.mark.parametrize("opset", [15, 21])
@pytest.mark.parametrize("case", range(len(CASES)), ids=[c[0] for c in CASES])
def test_expanded_operator_computes_the_same(case: int, opset: int) -> None:
    kind, arrays, outputs, attributes = CASES[case]
    proto = model(kind, arrays, outputs, contrib.DOMAIN, opset, attributes)
    first = next(iter(arrays))
    inputs = {first: np.asarray(arrays[first])}
    made, expected = session(contrib.expand(proto)).run(None, inputs), session(proto).run(None, inputs)
    for a, b in zip(made, expected, strict=True):
        # An integer may round the other way at a tie; floats are added in another order.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1 if a.dtype == np.uint8 else 1e-5)


@pytest.mark.parametrize("case", range(len(CASES)), ids=[c[0] for c in CASES])
def test_expanded_operator_runs_on_the_edge(case: int) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from edgecut.frontends.normalize import normalize
    from edgecut.ir.extract import named_cut
    from edgecut.targets import tflite

    kind, arrays, outputs, attributes = CASES[case]
    proto = model(kind, arrays, outputs, contrib.DOMAIN, 17, attributes)
    first = next(iter(arrays))
    inputs = {first: np.asarray(arrays[first])}
    program = normalize(proto, {}, kind)
    data = tflite.emit(program, [named_cut(program, "edge-only")]).data
    made = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")(**inputs)
    for i, expected in enumerate(session(proto).run(None, inputs)):
        # As above, and the exponential and error functions of two runtimes.
        atol = 1 if expected.dtype == np.uint8 else 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(made[f"y{i}"], expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("kind", ["LayerNormalization", "SimplifiedLayerNormalization"])
def test_normalizations_that_the_optimizer_puts_into_the_standard_domain(kind: str) -> None:
    arrays = X | {"gamma": VECTOR["gamma"]}
    proto = model(kind, arrays, 1, "", 13, {"axis": -1, "epsilon": 1e-5})
    made, expected = session(contrib.expand(proto)).run(None, X), session(proto).run(None, X)
    np.testing.assert_allclose(made[0], expected[0], rtol=1e-4, atol=1e-5)


def test_form_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    attributes = {"num_heads": HEADS, "do_rotary": 1}
    path = tmp_path / "model.onnx"
    onnx.save(model("Attention", BERT, 1, contrib.DOMAIN, 17, attributes), path)
    with pytest.raises(ModelError, match=r"unknown operator com\.microsoft\.Attention in node 'node'"):
        frontends.load(path, {})


def test_layout_of_one_processor_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model("Conv", CONV, 1, "com.microsoft.nchwc", 17, {}), path)
    with pytest.raises(ModelError) as caught:
        frontends.load(path, {})
    assert "ORT_ENABLE_EXTENDED" in str(caught.value.hint)


def test_network_that_onnx_runtime_optimized_is_imported_whole(tmp_path: Path, root: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    source = root / "fixtures" / "digits.onnx"
    plain = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(options.optimized_model_filepath)
    assert any(node.domain == contrib.DOMAIN for node in optimized.graph.node)
    program = frontends.load(Path(options.optimized_model_filepath), {})
    assert {node.domain for node in program.nodes} <= {"", "ai.onnx"}
    spec = plain.get_inputs()[0]
    inputs = {spec.name: floats(*[n if isinstance(n, int) else 1 for n in spec.shape])}
    made = session(program.proto()).run(None, inputs)
    np.testing.assert_allclose(made[0], plain.run(None, inputs)[0], rtol=1e-4, atol=1e-5)
