"""Simplify: fewer nodes, the same numbers, names, order and annotations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecut import frontends
from edgecut.ir import annotations
from edgecut.ir.annotations import Cost, ImageInput, Origin, Time
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.ir.verify import verify
from edgecut.passes import pipeline
from edgecut.passes.base import Context, Pass
from edgecut.passes.simplify import extension
from edgecut.passes.simplify.preprocess import Preprocess
from edgecut.passes.simplify.simplify import Simplify

Parse = Callable[..., Program]
Run = Callable[[Program, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]

# Folding rounds weights once more and sums in another order.
RTOL, ATOL = 1e-4, 1e-5


def _run(item: Pass, program: Program) -> Program:
    return pipeline.run([item], program, Context(), use_cache=False)


def _operators(program: Program) -> list[str]:
    return [node.op_type for node in program.nodes]


def test_the_fixture_loses_its_batchnorm_and_keeps_its_answers(root: Path, run: Run) -> None:
    program = frontends.load(root / "fixtures" / "digits.onnx")
    simple = _run(Simplify(), program)
    verify(simple)
    assert "BatchNormalization" not in _operators(simple)
    assert len(_operators(simple)) == len(_operators(program)) - 9
    images = np.load(root / "fixtures" / "digits_test.npz")["input"][:8]
    for image in images:
        x = {"input": ((image.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]}
        np.testing.assert_allclose(run(simple, x)["logits"], run(program, x)["logits"], RTOL, ATOL)


@pytest.mark.parametrize("name", ["resnet8_cifar10", "kws_dscnn", "ecg_cnn_mitbih"])
def test_the_zoo_computes_the_same(name: str, zoo: Path, run: Run, rng: np.random.Generator) -> None:
    program = frontends.load(zoo / "models" / f"{name}.onnx")
    simple = _run(Simplify(), program)
    verify(simple)
    assert (simple.inputs, simple.outputs) == (program.inputs, program.outputs)
    feed = {s.name: rng.uniform(0, 1, [int(d or 1) for d in s.shape]).astype(s.dtype) for s in program.inputs}
    for ours, theirs in zip(run(simple, feed).values(), run(program, feed).values(), strict=True):
        np.testing.assert_allclose(ours, theirs, RTOL, ATOL)


def test_it_is_idempotent(root: Path) -> None:
    once = _run(Simplify(), frontends.load(root / "fixtures" / "digits.onnx"))
    twice = _run(Simplify(), once)
    assert twice.proto().graph == once.proto().graph


def test_it_is_deterministic(root: Path) -> None:
    program = frontends.load(root / "fixtures" / "digits.onnx")
    assert _run(Simplify(), program).bytes() == _run(Simplify(), program).bytes()


def test_merged_nodes_name_those_they_came_from(parse: Parse) -> None:
    program = parse(
        """g (float[1,4] x) => (float[1,3] y) {
            [zeros] n = Neg(c) [mm] a = MatMul(x, w) [bias] b = Add(a, n)
            [act] y = Relu(b) [dead] z = Exp(y) }""",
        w=np.ones((4, 3), np.float32), c=np.ones(3, np.float32),
    )  # fmt: skip
    simple = _run(Simplify(), program)
    dense, act = simple.nodes
    assert annotations.get(dense, Origin) == Origin(("mm", "bias"))
    assert (act.name, annotations.get(act, Origin)) == ("act", None)


def test_constants_are_no_origin(parse: Parse) -> None:
    program = parse(
        """g (float[1,2,3,3] x) => (float[1,4,3,3] y) {
            [neg] n = Neg(c) [conv] a = Conv(x, w) [add] y = Add(a, n) }""",
        w=np.ones((4, 2, 1, 1), np.float32), c=np.ones((1, 4, 1, 1), np.float32),
    )  # fmt: skip
    (node,) = _run(Simplify(), program).nodes
    assert annotations.get(node, Origin) == Origin(("conv", "add"))


def test_a_product_of_three_dimensions_keeps_its_tensors(parse: Parse) -> None:
    """A cut is named by tensors: reshapes around a Gemm would give it others than the user's."""
    program = parse(
        "g (float[1,2,4] x) => (float[1,2,3] y) { a = MatMul(x, w) b = Add(a, c) y = Relu(b) }",
        w=np.ones((4, 3), np.float32), c=np.ones(3, np.float32),
    )  # fmt: skip
    assert set(program.values()) == set(_run(Simplify(), program).values())


def test_annotations_survive(root: Path) -> None:
    program = frontends.load(root / "fixtures" / "digits.onnx")
    cost = Cost(edge=Time(0.5, "measured"))
    for node in program.nodes:
        annotations.put(node, cost)
    image = ImageInput((1.0,), (2.0,))
    annotations.put(program.value("input"), image)
    annotations.put(program.value("relu_1"), image)
    program.model.metadata_props["edgecut.note"] = "kept"
    simple = _run(Simplify(), program)
    assert all(annotations.get(node, Cost) == cost for node in simple.nodes)
    assert annotations.get(simple.value("input"), ImageInput) == image
    assert annotations.get(simple.value("relu_1"), ImageInput) == image
    assert simple.model.metadata_props["edgecut.note"] == "kept"


def test_names_and_order_of_inputs_and_outputs_stay(parse: Parse, run: Run) -> None:
    """Also an input that nothing reads, an output that is an input, and one value under two names."""
    program = parse("""g (float[2] zebra, float[2] unused, float[2] apple)
        => (float[2] last, float[2] copy, float[2] first, float[2] again) {
            t = Add(zebra, apple) last = Identity(t) copy = Identity(apple)
            u = Sub(zebra, apple) first = Identity(u) again = Identity(u) }""")
    simple = _run(Simplify(), program)
    verify(simple)
    assert (simple.inputs, simple.outputs) == (program.inputs, program.outputs)
    feed = {n: np.array(v, np.float32) for n, v in (("zebra", [1, 2]), ("unused", [0, 0]), ("apple", [5, 7]))}
    found = run(simple, feed)
    assert [found[n].tolist() for n in ("last", "copy", "first", "again")] == [
        [6, 9],
        [5, 7],
        [-4, -5],
        [-4, -5],
    ]


def test_what_does_nothing_or_is_read_by_nothing_goes(parse: Parse) -> None:
    program = parse("""g (float[1,4] x) => (float[1,4] y) {
        a = Identity(x) b = Dropout(a) dead = Exp(b) c = Relu(b) d = Identity(c) y = Neg(d) }""")
    assert _operators(_run(Simplify(), program)) == ["Relu", "Neg"]


def test_constants_are_folded(parse: Parse, run: Run) -> None:
    program = parse("""g (float[1,4] x) => (float[2,2] y) {
        s = Constant<value_ints = [1, 2]>() one = Constant<value_ints = [2, 0]>() t = Add(s, one)
        two = Constant<value_ints = [1, 2]>() shape = Max(t, two) half = Constant<value_ints = [2, 2]>()
        low = Min(shape, half) y = Reshape(x, low) }""")
    simple = _run(Simplify(), program)
    assert _operators(simple) == ["Reshape"]
    assert run(simple, {"x": np.arange(4, dtype=np.float32)[None]})["y"].tolist() == [[0, 1], [2, 3]]


def test_shape_arithmetic_of_old_exporters_is_folded(tmp_path: Path) -> None:
    """``x.view(x.size(0), -1)`` as the TorchScript exporter wrote it, with an open batch."""
    import onnx

    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[N,3,4] x) => (float[N,12] y) {
            s = Shape(x) zero = Constant<value = int64 {0}>() n = Gather<axis = 0>(s, zero)
            axes = Constant<value_ints = [0]>() b = Unsqueeze(n, axes) rest = Constant<value_ints = [-1]>()
            shape = Concat<axis = 0>(b, rest) y = Reshape(x, shape) }""")
    onnx.save(proto, str(tmp_path / "m.onnx"))
    simple = _run(Simplify(), frontends.load(tmp_path / "m.onnx"))
    assert _operators(simple) == ["Reshape"]
    assert simple.outputs[0].shape == (1, 12)


def test_quantized_weights_stay_integers(parse: Parse, run: Run, rng: np.random.Generator) -> None:
    weights = rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
    program = parse("""g (float[1,3,8,8] x) => (float[1,6,6,6] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) w = DequantizeLinear<axis = 0>(wq, ws, wz)
        c = Conv(d, w) p = QuantizeLinear(c, t, z) y = DequantizeLinear(p, t, z) }""",
        wq=weights, ws=np.full(6, 0.01, np.float32), wz=np.zeros(6, np.int8),
        s=np.float32(0.02), t=np.float32(0.1), z=np.int8(0),
    )  # fmt: skip
    simple = _run(Simplify(), program)
    assert _operators(simple) == _operators(program)
    stored = simple.graph.initializers["wq"].const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), weights)
    x = {"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    np.testing.assert_array_equal(run(simple, x)["y"], run(program, x)["y"])


def test_pixels_stay_the_input(root: Path) -> None:
    program = frontends.load(root / "fixtures" / "digits.onnx")
    simple = _run(Simplify(), _run(Preprocess(image="input", mean=(127.5,), std=(127.5,)), program))
    assert [(s.name, s.dtype, s.shape) for s in simple.inputs] == [("input", "uint8", (1, 32, 32, 1))]
    assert _operators(simple)[0] == "Cast"
    assert annotations.get(simple.value("input"), ImageInput) is not None


def test_a_shape_that_depends_on_data_is_one_clear_line(parse: Parse) -> None:
    program = parse("g (float[4] x) => (int64[1,n] y) { y = NonZero(x) }")
    with pytest.raises(ModelError, match="shape of 'y' is not known before the model runs"):
        _run(Simplify(), program)


def test_without_onnxsim_our_own_rewrites_still_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("cannot do this one\nmore about it")

    monkeypatch.setattr(extension, "simplify", broken)
    told: list[str] = []
    program = frontends.load(root / "fixtures" / "digits.onnx")
    simple = pipeline.run([Simplify()], program, Context(warn=told.append), use_cache=False)
    assert told == ["onnxsim is left out: cannot do this one"]
    assert "BatchNormalization" not in _operators(simple)


def test_float16_models_stay_float16(parse: Parse, run: Run, rng: np.random.Generator) -> None:
    arrays = {name: rng.uniform(0.5, 1.5, 4).astype(np.float16) for name in ("g", "b", "m", "v")}
    program = parse(
        """g (float16[1,2,5,5] x) => (float16[1,4,5,5] y) {
            a = Conv(x, w) n = BatchNormalization(a, g, b, m, v) y = Relu(n) }""",
        w=rng.standard_normal((4, 2, 1, 1)).astype(np.float16), **arrays,
    )  # fmt: skip
    simple = _run(Simplify(), program)
    assert _operators(simple) == ["Conv", "Relu"]
    assert {v.dtype.name for v in simple.values().values() if v.dtype} == {"FLOAT16"}
    x = {"x": rng.standard_normal((1, 2, 5, 5)).astype(np.float16)}
    # Eleven bits of mantissa, two roundings, values below eight.
    np.testing.assert_allclose(run(simple, x)["y"], run(program, x)["y"], rtol=1e-2, atol=1e-2)


def test_extension_alone_does_what_the_package_does(residual: Program) -> None:
    import onnxsim

    direct = extension._direct(residual.proto(), [])
    if direct is None:
        pytest.skip("another release of onnxsim: the package is called")
    public, _ = onnxsim.simplify(residual.proto())
    assert [n.op_type for n in direct.graph.node] == [n.op_type for n in public.graph.node]
    assert [w.raw_data for w in direct.graph.initializer] == [w.raw_data for w in public.graph.initializer]
