"""The quantize pass, judged by the graph that it leaves and by what that computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as oir
import onnxruntime as ort
import pytest

from edgecut.ir import annotations, store
from edgecut.ir.annotations import Cost, Origin, Quantization
from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.ir.verify import verify
from edgecut.passes.base import Context
from edgecut.passes.numerics import Runner, compare
from edgecut.passes.quantize.static import Quantize

Build = Callable[..., Program]
Save = Callable[..., Path]


def images(count: int = 32) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, 16, 16)).astype(np.float32)


def quantized(program: Program, path: Path, **options: Any) -> tuple[Program, Context]:
    context = Context()
    item = Quantize(calibration=path, **options)
    item.check_before(program)
    return item.run(program.copy(), context), context


@pytest.fixture
def small(residual: Program, save: Save) -> Program:
    return quantized(residual, save(image=images()))[0]


def scale_and_zero(program: Program, name: str) -> tuple[float, int]:
    node = maker(program.value(name))
    assert node.op_type in ("QuantizeLinear", "DequantizeLinear")
    return float(numbers(node.inputs[1])), int(numbers(node.inputs[2]))


def maker(value: oir.Value | None) -> oir.Node:
    node = None if value is None else value.producer()
    assert node is not None
    return node


def numbers(value: oir.Value | None) -> Any:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()


def test_the_result_is_valid_and_near_the_float_model(residual: Program, small: Program) -> None:
    onnx.checker.check_model(small.proto(), full_check=True)
    verify(small)
    found = compare(residual, small, ({"image": x[None]} for x in images(64)))
    # Each of four quantized layers in a row adds noise some 40 dB below the signal; 25 dB is far above
    # what any wrong scale, zero point or bias gives.
    assert found.sqnr_db > 25
    assert found.agreement is not None
    assert found.agreement > 0.9


def test_inputs_and_outputs_keep_names_and_types(residual: Program, small: Program) -> None:
    assert small.inputs == residual.inputs
    assert small.outputs == residual.outputs


def test_the_kernels_are_integer_ones(build: Build, save: Save, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = """net (float[1,3,8,8] x) => (float[1,4,8,8] y)
    { a = Conv(x, wa, ba)  r = Relu(a)  b = Conv<group=6>(r, wb)  c = Clip(b, zero, six)  y = Conv(c, wc) }"""
    shapes = {"wa": (6, 3, 1, 1), "ba": (6,), "wb": (6, 1, 1, 1), "wc": (4, 6, 1, 1)}
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    program = build(text, zero=np.float32(0), six=np.float32(6), **weights)
    # (No residual addition: where two nodes share a value, ONNX Runtime on x86 fuses no int8.)
    small, _ = quantized(program, save(x=rng.standard_normal((8, 3, 8, 8)).astype(np.float32)))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(small.bytes(), options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3
    assert "Conv" not in kinds
    assert "Gemm" not in kinds


def test_nothing_is_rounded_between_a_convolution_and_its_activation(small: Program) -> None:
    for name in ("a", "b"):
        users = [n.op_type for n, _ in small.value(name).uses()]
        assert users in (["Relu"], ["Clip"])


def test_values_that_kernels_only_move_share_one_grid(small: Program) -> None:
    tied = {scale_and_zero(small, f"{name}_quantized") for name in ("s", "p", "c", "cat")}
    assert len(tied) == 1
    assert scale_and_zero(small, "flat_quantized") == scale_and_zero(small, "m_quantized")


def test_weights_have_a_scale_per_channel_and_biases_that_of_the_accumulator(small: Program) -> None:
    conv = next(n for n in small.nodes if n.op_type == "Conv")
    data, weight, bias = (maker(v) for v in conv.inputs)
    step, scales = numbers(data.inputs[1]), numbers(weight.inputs[1])
    assert scales.shape == (8,)
    assert (numbers(weight.inputs[2]) == 0).all()
    assert numbers(bias.inputs[0]).dtype == np.int32
    assert bias.attributes["axis"].as_int() == 0
    assert np.array_equal(numbers(bias.inputs[1]), scales * step)


def test_a_relu_uses_the_whole_grid(small: Program) -> None:
    assert scale_and_zero(small, "ra_quantized")[1] == -128


def test_annotations(residual: Program, save: Save) -> None:
    for node in residual.nodes:
        annotations.put(node, Cost(macs=1))
    annotations.put(next(residual.nodes), Origin(("user_conv", "user_bn")))
    found, context = quantized(residual, save(image=images()))
    record = annotations.get(found.model, Quantization)
    assert record is not None
    assert (record.scheme, record.samples) == ("int8", 32)
    assert store.reference(record.original).bytes() == residual.bytes()
    assert not any(annotations.get(n, Cost) for n in found.nodes)
    assert annotations.get(maker(found.value("wa_dequantized")), Origin) == Origin(("user_conv", "user_bn"))
    metrics = context.metrics
    assert metrics["samples"] == 32
    # Four times fewer bytes for weights; in so small a model the scales count too.
    assert 2 * float(metrics["weight_bytes"]) < float(metrics["weight_bytes_before"])


def test_the_same_input_gives_the_same_bytes(residual: Program, save: Save) -> None:
    path = save(image=images())
    assert quantized(residual, path)[0].bytes() == quantized(residual, path)[0].bytes()


def test_kept_nodes_stay_in_float(residual: Program, save: Save) -> None:
    name = next(n.name for n in residual.nodes if n.op_type == "Gemm")
    found, _ = quantized(residual, save(image=images()), keep=(name,))
    gemm = next(n for n in found.nodes if n.op_type == "Gemm")
    assert numbers(gemm.inputs[1]).dtype == np.float32


@pytest.mark.parametrize(
    ("size", "scheme", "stays"), [(7, "int8", True), (5, "int8", False), (7, "int8-symmetric", False)]
)
def test_depthwise_kernels_too_large_for_integers_stay_in_float(
    build: Build, save: Save, size: int, scheme: str, stays: bool
) -> None:
    """TFLite computes 7x7 much faster in float, in parts; TensorRT has kernels."""
    pad = size // 2
    text = (
        "agraph (float[1,3,16,16] image) => (float[1,4,16,16] y) { d = Conv <group=3, "
        f"pads=[{pad},{pad},{pad},{pad}]> (image, w0) y = Conv (d, w1) }}"
    )
    rng = np.random.default_rng(0)
    weights = {"w0": rng.standard_normal((3, 1, size, size)), "w1": rng.standard_normal((4, 3, 1, 1))}
    program = build(text, **{k: v.astype(np.float32) for k, v in weights.items()})
    found, _ = quantized(program, save(image=images()), scheme=scheme)
    depthwise, pointwise = (n for n in found.nodes if n.op_type == "Conv")
    assert (depthwise.inputs[1].const_value is not None) is stays  # type: ignore[union-attr]
    assert maker(pointwise.inputs[1]).op_type == "DequantizeLinear"


def test_softmax_stays_in_float(build: Build, save: Save) -> None:
    weight = np.eye(4, dtype=np.float32)
    text = "net (float[1,4] x) => (float[1,4] y) { h = MatMul(x, w)  y = Softmax(h) }"
    found, _ = quantized(build(text, w=weight), save(x=np.random.default_rng(0).random((8, 4), np.float32)))
    softmax = next(n for n in found.nodes if n.op_type == "Softmax")
    assert softmax.outputs[0].name == "y"
    assert maker(softmax.inputs[0]).op_type == "DequantizeLinear"


def test_the_bias_of_a_matmul_joins_its_accumulator(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    text = "net (float[1,5,4] x) => (float[1,5,6] y) { h = MatMul(x, w)  y = Add(h, b) }"
    program = build(text, w=rng.random((4, 6), np.float32), b=rng.random(6, np.float32))
    found, context = quantized(program, save(x=rng.standard_normal((16, 5, 4)).astype(np.float32)))
    assert [n.op_type for n, _ in found.value("h").uses()] == ["Add"]
    # One layer of 8-bit operands: about 48 dB each for data, weights and result.
    assert float(context.metrics["sqnr_db"]) > 38


def test_a_sigmoid_has_the_grid_of_its_kernel(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    text = "net (float[1,4] x) => (float[1,4] y) { h = MatMul(x, w)  s = Sigmoid(h)  y = Mul(h, s) }"
    program = build(text, w=rng.standard_normal((4, 4)).astype(np.float32))
    found, _ = quantized(program, save(x=rng.standard_normal((16, 4)).astype(np.float32)))
    assert scale_and_zero(found, "s_quantized") == (1 / 256, -128)


@pytest.mark.parametrize("mean", [0.0, 128.0, 127.5, 100.25])
def test_pixels_are_held_exactly(build: Build, save: Save, mean: float) -> None:
    rng = np.random.default_rng(0)
    text = """net (uint8[1,16,16,1] image) => (float[1,2,16,16] y)
    { f = Cast<to=1>(image)  c = Sub(f, mean)  d = Div(c, std)  x = Transpose<perm=[0,3,1,2]>(d)
      y = Conv(x, w, b) }"""
    weights = {"w": rng.standard_normal((2, 1, 1, 1)).astype(np.float32), "b": rng.random(2, np.float32)}
    program = build(text, mean=np.array([mean], np.float32), std=np.array([60], np.float32), **weights)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found, _ = quantized(program, save(image=pixels))
    integers = Runner(found, ["x_quantized"])({"image": pixels})["x_quantized"]
    assert np.array_equal(integers.ravel(), np.arange(256) - 128)
    expected, got = Runner(program)({"image": pixels})["y"], Runner(found)({"image": pixels})["y"]
    # The input is exact, so that only the weights' and the result's roundings remain, 8 bits each.
    assert np.abs(expected - got).max() < np.ptp(expected) / 255 * 1.5


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"calibration": None}, UsageError, "calibration"),
        ({"percentile": 20.0}, UsageError, "percentile"),
        ({"samples": 0}, UsageError, "samples"),
        ({"keep": ("nothing",)}, UsageError, "no node named 'nothing'"),
    ],
)
def test_wrong_options(
    residual: Program, save: Save, options: dict[str, Any], error: type[EdgecutError], says: str
) -> None:
    options = {"calibration": save(image=images(2)), **options}
    with pytest.raises(error, match=says):
        Quantize(**options).check_before(residual)


def test_quantizing_twice_is_an_error(small: Program, save: Save) -> None:
    with pytest.raises(ModelError, match="quantized already"):
        quantized(small, save(image=images(2)))


def test_nothing_to_quantize_is_an_error(build: Build, save: Save) -> None:
    program = build("net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantized(program, save(x=np.zeros((2, 4), np.float32)))


def test_data_of_another_shape_are_an_error(residual: Program, save: Save) -> None:
    with pytest.raises(ModelError, match="image"):
        quantized(residual, save(image=np.zeros((2, 3, 8, 8), np.float32)))


def test_nan_in_the_data_is_an_error(residual: Program, save: Save) -> None:
    data = images(4)
    data[2, 0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="NaN"):
        quantized(residual, save(image=data))


def test_numbers_that_overflow_inside_are_an_error(build: Build, save: Save) -> None:
    program = build(
        "net (float[1,2] x) => (float[1,2] y) { h = MatMul(x, w)  y = Mul(h, h) }",
        w=np.full((2, 2), 1e30, np.float32),
    )
    with pytest.raises(ModelError, match="NaN or infinity"):
        quantized(program, save(x=np.ones((2, 2), np.float32)))


def test_constant_data_are_told(residual: Program, save: Save) -> None:
    said: list[str] = []
    context = Context(warn=said.append)
    found = Quantize(calibration=save(image=np.zeros((4, 3, 16, 16), np.float32))).run(
        residual.copy(), context
    )
    assert any("image" in line and "constant" in line for line in said)
    assert np.isfinite(Runner(found)({"image": images(1)})["scores"]).all()


def test_off_changes_nothing(residual: Program) -> None:
    before = residual.bytes()
    assert Quantize(scheme="none").run(residual, Context()).bytes() == before


@pytest.mark.parametrize(
    ("model", "data", "split"),
    [
        ("resnet8_cifar10", "cifar10/cifar10_test_lossless_250", "cifar10/cifar10_train_calib_200"),
        ("ecg_cnn_mitbih", "ecg_mitbih/beats_test", "ecg_mitbih/beats_train_calib"),
    ],
)
def test_trained_models_keep_their_accuracy(zoo: Path, save: Save, model: str, data: str, split: str) -> None:
    proto = onnx.shape_inference.infer_shapes(onnx.load(zoo / "models" / f"{model}.onnx"), data_prop=True)
    program = Program.from_proto(proto)
    name = program.inputs[0].name
    test, calibration = (np.load(zoo / "data" / f"{part}.npz") for part in (data, split))
    kind = next(k for k in test.files if k in ("images", "beats"))
    found, _ = quantized(program, save(**{name: calibration[kind].astype(np.float32)}))
    inputs, labels = test[kind][::4].astype(np.float32), test["labels"][::4]

    def accuracy(of: Program) -> float:
        run = Runner(of)
        answers = [next(iter(run({name: x[None]}).values())).argmax() for x in inputs]
        return float(np.mean(np.asarray(answers) == labels))

    # Quantized answers differ on the few samples that were close calls, to the worse or the better: one
    # point, and the one sample in 63 that half of them may fall to by chance.
    assert accuracy(found) >= accuracy(program) - 0.01 - 1 / len(labels)


def test_symmetric_activations_have_their_zero_at_zero(residual: Program, save: Save) -> None:
    found, context = quantized(residual, save(image=images()), scheme="int8-symmetric")
    zeros = [numbers(n.inputs[2]) for n in found.nodes if n.op_type == "QuantizeLinear"]
    assert zeros
    assert not any(zeros)
    # One bit less than asymmetric where a Relu leaves the negative half empty: 6 dB below the 25 dB there.
    assert float(context.metrics["sqnr_db"]) > 19


@pytest.mark.parametrize(("scheme", "share", "db"), [("int8-weights", 0.35, 35), ("float16", 0.55, 60)])
def test_small_weights_need_no_data(build: Build, scheme: str, share: float, db: float) -> None:
    """Eight bits of weights are worth some 40 dB, the eleven of float16 some 66."""
    rng = np.random.default_rng(0)
    text = "net (float[1,64] x) => (float[1,8] y) { h = MatMul(x, wa)  r = Relu(h)  y = MatMul(r, wb) }"
    shapes = {"wa": (64, 64), "wb": (64, 8)}
    program = build(text, **{n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()})
    found = Quantize(scheme=scheme).run(program.copy(), Context())  # type: ignore[arg-type]
    onnx.checker.check_model(found.proto(), full_check=True)
    verify(found)
    assert found.weight_bytes() < share * program.weight_bytes()
    inputs = [{"x": rng.standard_normal((1, 64)).astype(np.float32)} for _ in range(8)]
    assert compare(program, found, inputs).sqnr_db > db


def test_auto_takes_the_ranges_that_do_better_on_unseen_samples(build: Build, save: Save) -> None:
    rng = np.random.default_rng(0)
    program = build("net (float[1,1,128,128] x) => (float[1,2,128,128] y) { y = Conv(x, w) }",
                    w=np.array([1, -2], np.float32).reshape(2, 1, 1, 1))  # fmt: skip
    data = rng.random((160, 1, 128, 128), np.float32)
    data[5, 0, 7, 7] = 40  # one of 2.6 million, with whose range all else has 6 levels left
    path, unseen = save(x=data[:128]), [{"x": x[None]} for x in data[128:136]]
    auto, mse, minmax = (
        compare(program, quantized(program, path, method=m)[0], unseen).sqnr_db
        for m in ("auto", "mse", "minmax")
    )
    assert mse > minmax + 10
    assert auto == mse


def test_a_constant_input_is_told(residual: Program, save: Save) -> None:
    said: list[str] = []
    path = save(image=np.full((8, 3, 16, 16), 0.5, np.float32))
    Quantize(calibration=path).run(residual.copy(), Context(warn=said.append))
    assert any("image" in line and "constant over all calibration data" in line for line in said)


def test_nothing_to_quantize(build: Build, save: Save) -> None:
    program = build("net (float[1,4] x) => (float[1,4] y) { y = Softmax(x) }")
    path = save(x=np.random.default_rng(0).random((8, 4), np.float32))
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantized(program, path)
    with pytest.raises(ModelError, match="nothing to quantize"):
        quantized(program, path, scheme="int8-weights")


def test_figures_before_and_after(residual: Program, save: Save) -> None:
    data = images()
    labels = [int(Runner(residual)({"image": x[None]})["scores"].argmax()) for x in data]
    _, context = quantized(residual, save(image=data, labels=np.asarray(labels)))
    figures = context.metrics
    assert figures["macs"] == figures["macs_before"]
    assert figures["accuracy_before"] == 1.0
    assert figures["accuracy"] == figures["agreement"]
