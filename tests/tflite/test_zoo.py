"""Whole trained networks: the same numbers, the fewest operators, and every cut in one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import extract
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.quantize import integers
from edgecut.targets import tflite
from edgecut.targets.tflite import verify

NAMES = ("resnet8_cifar10", "kws_dscnn", "ecg_cnn_mitbih", "mobilenetv2_imagenet")
DATA = {
    "resnet8_cifar10": ("cifar10/cifar10_train_calib_200.npz", "images"),
    "kws_dscnn": ("speech_commands/kws_mfcc_test_500.npz", "mfcc"),
    "ecg_cnn_mitbih": ("ecg_mitbih/beats_train_calib.npz", "beats"),
}


@pytest.fixture(scope="module")
def quantized(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A zoo model quantized by ONNX Runtime's own tool: QDQ, int8, per channel."""

    def make(name: str) -> Path:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        source, out = zoo / "models" / f"{name}.onnx", tmp_path_factory.mktemp("int8") / f"{name}.onnx"
        samples = iter(_samples(zoo, name, 8))

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> Any:
                return next(samples, None)

        kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
        quantize_static(source, out, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
        return out

    return make


def _samples(zoo: Path, name: str, count: int) -> list[dict[str, Any]]:
    import onnx

    (graph_input,) = onnx.load(str(zoo / "models" / f"{name}.onnx")).graph.input
    if name not in DATA:
        random = np.random.default_rng(0)
        return [{graph_input.name: random.normal(size=(1, 3, 224, 224)).astype("f4")} for _ in range(count)]
    file, key = DATA[name]
    arrays = np.load(zoo / "data" / file)[key][:count].astype("f4")
    return [{graph_input.name: a[None]} for a in arrays]


@pytest.mark.parametrize("name", NAMES)
def test_float_network_computes_what_onnx_runtime_does(zoo: Path, load: Any, name: str) -> None:
    test = load(zoo / "models" / f"{name}.onnx").lower().compare(_samples(zoo, name, 1)[0])
    # The two whose input is channels-first need one to begin with; inside there is none.
    test.count("TRANSPOSE", 1 if name == "mobilenetv2_imagenet" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_every_int8_group_agrees_with_onnx_runtime(
    zoo: Path, load: Any, quantized: Callable[[str], Path], name: str
) -> None:
    test = load(quantized(name))
    sample = _samples(zoo, name, 1)[0]
    checks = list(verify.groups(test.program, test.cut, sample))
    # No value of any layer is more than one step off, given the same input.
    assert [c for c in checks if (c.error > 0 if c.exact else not c.ok)] == []
    test.lower()
    float_kinds = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN"}
    assert test.operators["DEQUANTIZE"] <= 2, "only around softmax and average pools, and at the end"
    assert float_kinds & set(test.operators)


@pytest.mark.parametrize("name", NAMES)
def test_int8_network_gives_the_integers_that_onnx_runtime_gives(zoo: Path, load: Any, name: str) -> None:
    """Quantized here: its scales leave no ties, also where the weights were integers before (MobileNetV2)."""
    test, samples = load(zoo / "models" / f"{name}.onnx"), _samples(zoo, name, 10)
    program = recipes.make("simplify").run(test.program, Context())
    test.program = integers.calibrated(program, samples[:7]).quantized()
    test.lower()
    for sample in samples[7:]:
        ((made,), (expected,)) = test.run(sample).values(), test.reference(sample).values()
        # A float softmax at the end differs by its own rounding; a step of its input changes it by a percent.
        assert np.abs(made - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["resnet8_cifar10", "ecg_cnn_mitbih"])
@pytest.mark.parametrize("scheme", ["float", "int8"])
def test_each_cut_between_groups_gives_the_tensors_that_cross(
    zoo: Path, load: Any, quantized: Callable[[str], Path], name: str, scheme: str
) -> None:
    test = load(zoo / "models" / f"{name}.onnx" if scheme == "float" else quantized(name))
    program = test.program
    nodes = {n.name: n for n in program.nodes}
    edge: set[Any] = set()
    cuts = []
    for group in tflite.fusion_groups(program):
        edge |= extract.ancestors(v for n in group.nodes for v in nodes[n].outputs)
        cuts.append(extract.crossing(program, edge))
    emitted = tflite.emit(program, cuts)
    assert emitted.data == tflite.emit(program, cuts).data, "not deterministic"
    whole = tflite.emit(program, [test.cut])
    assert len(emitted.data) < 1.5 * len(whole.data) + 4096 * len(cuts), "weights are stored more than once"
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=emitted.data, num_threads=1)
    sample = _samples(zoo, name, 1)[0]
    crossing = sorted({n for cut in cuts for n in cut.crossing} & set(emitted.wire))
    expected = verify._onnxruntime(program, crossing, sample)
    for number, key in emitted.signatures.items():
        made = interpreter.get_signature_runner(key)(**sample)
        assert set(made) == {*cuts[number].crossing, *cuts[number].edge_outputs}
        for tensor in cuts[number].crossing:
            wire = emitted.wire[tensor]
            assert (made[tensor].shape, made[tensor].dtype.name) == (wire.shape, wire.dtype)
            value = expected[tensor].transpose(wire.perm) if wire.perm else expected[tensor]
            difference = np.abs(made[tensor].astype("f8") - value.astype("f8"))
            if made[tensor].dtype == np.int8:
                # Each layer alone is exact but for ties (see above). One value that rounds the other way
                # spreads: in ResNet-8 a single one of the first convolution's 16,384 moves three of the ten
                # logits by two steps. A wrong scale, cut or layout would be off by tens on average.
                assert (difference > 1).mean() <= 1e-3 or name == "resnet8_cifar10", tensor
                assert difference.mean() <= 1.5, tensor
            elif scheme == "float":
                assert difference.max() <= 1e-4 * np.abs(value).max(), tensor
            else:  # dequantized or after a softmax in float: steps of 1/256 of the range
                assert difference.max() <= 0.02 * np.abs(value).max(), tensor


@pytest.mark.parametrize("name", DATA)
def test_16x8_runs_on_kernels_of_16_bits_that_agree_with_onnx_runtime(
    zoo: Path, load: Any, name: str
) -> None:
    test = load(zoo / "models" / f"{name}.onnx")
    program = recipes.make("simplify").run(
        recipes.make("import", model=zoo / "models" / f"{name}.onnx").run(Program.empty(), Context()),
        Context(),
    )
    samples = _samples(zoo, name, 12)
    test.program = integers.calibrated(program, samples[:8], scheme="int16x8").quantized()
    test.cut = extract.named_cut(test.program, "edge-only")
    checks = list(verify.groups(test.program, test.cut, samples[8]))
    # No value of any layer is more than one step off, given the same input.
    assert [c for c in checks if (c.error > 0 if c.exact else not c.ok)] == []
    test.lower()
    # Softmax, and the average pools of the ECG network, are float.
    assert test.operators["DEQUANTIZE"] <= 2
    for sample in samples[8:]:
        ((made,), (expected,)) = test.run(sample).values(), test.reference(sample).values()
        # 15 bits, of which a network of ten layers may lose four: a wrong scale is off by far more.
        assert np.abs(made - expected).max() <= 2**-8 * np.abs(expected).max()


# What is stored of float32 weights. The matrices that `int4-weights` makes half as large again are small
# here, but for those of the ECG network.
SHARES = {"int8-weights": 0.25, "int8-dynamic": 0.25, "int4-weights": 0.25, "float16": 0.5}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("scheme", SHARES)
def test_small_weights_are_small_in_the_file_and_compute_the_same(
    zoo: Path, tmp_path: Path, load: Any, name: str, scheme: str
) -> None:
    model, path = zoo / "models" / f"{name}.onnx", tmp_path / "m.tflite"
    program = Program.empty()
    for item in recipes.convert(recipes.Source(model), path, scheme):
        program = item.run(program, Context())
    test = load(model)
    whole = len(test.lower().emitted.data)
    # And 16 KB for scales, operators and names.
    assert path.stat().st_size < SHARES[scheme] * whole + 16_000
    if scheme == "int4-weights" and name == "ecg_cnn_mitbih":
        assert path.stat().st_size < 0.17 * whole
    test.program = program
    sample = _samples(zoo, name, 1)[0]
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path), num_threads=1).get_signature_runner()
    ((made,), (expected,)) = runner(**sample).values(), test.reference(sample).values()
    # The same weights in float32 arithmetic. In the dynamic scheme each layer rounds its input to 8 bits over
    # its own range, some 45 dB below it; ten layers add up to at most a tenth of the largest score.
    error = np.abs(made - expected).max() / np.abs(expected).max()
    assert 1e-4 < error <= 0.1 if scheme == "int8-dynamic" else error <= 1e-4
