"""An input declared an image takes raw uint8 NHWC pixels, and the model answers as before."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgecut.ir import annotations, store
from edgecut.ir.annotations import ImageInput, Reference, Upload
from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.ir.verify import verify
from edgecut.passes import pipeline
from edgecut.passes.base import Context
from edgecut.passes.simplify.importing import Import
from edgecut.passes.simplify.preprocess import Preprocess

Parse = Callable[..., Program]
Run = Callable[[Program, dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]

NCHW = "g (float[1,3,6,8] x) => (float[1,3,6,8] y) { y = Neg(x) }"
NHWC = "g (float[1,6,8,3] x) => (float[1,6,8,3] y) { y = Neg(x) }"


def _run(program: Program, **options: Any) -> Program:
    result = pipeline.run([Preprocess(image="x", **options)], program, Context(), use_cache=False)
    verify(result)
    return result


def _operators(program: Program) -> list[str]:
    return [node.op_type for node in program.nodes]


@pytest.mark.parametrize(("body", "options", "operators"), [
    (NCHW, {"mean": (100.0, 120.0, 140.0), "std": (50.0, 60.0, 70.0)},
     ["Cast", "Mul", "Add", "Transpose", "Neg"]),
    (NCHW, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255},
     ["Cast", "Mul", "Add", "Transpose", "Neg"]),
    (NCHW, {"scale": 1 / 255}, ["Cast", "Mul", "Transpose", "Neg"]),
    (NHWC, {"mean": (127.5,)}, ["Cast", "Add", "Neg"]),
    (NHWC, {}, ["Cast", "Neg"]),
    (NCHW, {}, ["Cast", "Transpose", "Neg"]),
])  # fmt: skip
def test_it_computes_the_normalization_with_the_fewest_nodes(
    body: str, options: dict[str, Any], operators: list[str], parse: Parse, run: Run, rng: np.random.Generator
) -> None:
    original = parse(body)
    program = _run(parse(body), **options)
    assert _operators(program) == operators
    assert [(s.name, s.dtype, s.shape) for s in program.inputs] == [("x", "uint8", (1, 6, 8, 3))]
    pixels = rng.integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
    scaled = pixels.astype(np.float64) * options.get("scale", 1.0)
    normal = (scaled - np.array(options.get("mean", 0.0))) / np.array(options.get("std", 1.0))
    floats = (normal.transpose(0, 3, 1, 2) if body == NCHW else normal).astype(np.float32)
    # Multiply-add in float32 instead of float64: a few units in the last place of values up to 255.
    np.testing.assert_allclose(
        run(program, {"x": pixels})["y"], run(original, {"x": floats})["y"], 1e-5, 1e-5
    )


def test_grey_images(parse: Parse) -> None:
    for shape in ("1,1,6,8", "1,6,8,1"):
        program = _run(parse(f"g (float[{shape}] x) => (float[{shape}] y) {{ y = Neg(x) }}"))
        assert program.inputs[0].shape == (1, 6, 8, 1)


def test_the_record_is_in_pixel_units(parse: Parse) -> None:
    program = _run(parse(NCHW), mean=(0.5, 0.25, 0.0), std=(0.5,), scale=1 / 255)
    record = annotations.get(program.value("x"), ImageInput)
    assert record is not None
    assert record.mean == pytest.approx((127.5, 63.75, 0))
    assert record.std == pytest.approx((127.5,))
    assert record.upload == Upload(float32=4 * 144, uint8=144)


def test_the_jpeg_upload_is_measured(parse: Parse, tmp_path: Path, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "c.npz", x=images)
    sizes = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=80)
        sizes.append(len(file.getvalue()))
    program = _run(parse(NCHW), calibration=tmp_path / "c.npz", jpeg_quality=80)
    record = annotations.get(program.value("x"), ImageInput)
    assert record is not None
    assert record.upload == Upload(576, 144, round(float(np.mean(sizes))), 80)


def test_the_reference_takes_pixels_too(root: Path, run: Run) -> None:
    chain = [Import(root / "fixtures" / "digits.onnx"), Preprocess("input", (127.5,), (127.5,))]
    program = pipeline.run(chain, Program.empty(), Context(), use_cache=False)
    reference = store.reference(annotations.require(program.model, Reference, "").key)
    assert reference.inputs == program.inputs
    assert reference.outputs[0].name == "logits"
    stored = np.load(root / "fixtures" / "digits_test.npz")
    # 358 of the 360 images are answered rightly, all of the last 60 among them.
    found = [run(reference, {"input": image[None]})["logits"].argmax() for image in stored["input"][-60:]]
    assert found == stored["labels"][-60:].tolist()


def test_a_model_that_takes_pixels_needs_its_layout_at_most(parse: Parse, run: Run) -> None:
    pixels = {"x": np.arange(144, dtype=np.uint8).reshape(1, 6, 8, 3)}
    for shape, operators in (("1,3,6,8", ["Transpose", "Cast"]), ("1,6,8,3", ["Cast"])):
        body = f"g (uint8[{shape}] x) => (float[{shape}] y) {{ y = Cast<to = 1>(x) }}"
        program = _run(parse(body))
        assert _operators(program) == operators
        assert program.inputs[0].shape == (1, 6, 8, 3)
        assert run(program, pixels)["y"].sum() == pixels["x"].sum(dtype=np.int64)
        with pytest.raises(UsageError, match="takes pixels already"):
            _run(parse(body), mean=(1.0,))


def test_no_image_changes_nothing(parse: Parse) -> None:
    program = parse(NCHW)
    result = Preprocess().run(program.copy(), Context())
    assert result.bytes() == program.bytes()


def test_twice_is_once_unless_the_normalization_differs(parse: Parse) -> None:
    once = _run(parse(NCHW), mean=(100.0,))
    assert _operators(_run(once, mean=(100.0, 100.0, 100.0))) == _operators(once)
    with pytest.raises(UsageError, match="is an image already"):
        _run(once, mean=(90.0,))


def test_other_nodes_may_have_the_names(parse: Parse) -> None:
    body = (
        "g (float[1,3,6,8] x) => (float[1,3,6,8] y) { [x_cast] x_normalized = Neg(x) y = Neg(x_normalized) }"
    )
    assert _operators(_run(parse(body))) == ["Cast", "Transpose", "Neg", "Neg"]


@pytest.mark.parametrize(("body", "options", "error", "message"), [
    (NCHW, {"image": "q"}, UsageError, "no input 'q'"),
    (NCHW, {"mean": (1.0, 2.0)}, ModelError, "no image .* of 2 channels"),
    (NCHW, {"mean": (1.0, 2.0), "std": (1.0, 2.0, 3.0)}, UsageError, "2 values for 3 channels"),
    (NCHW, {"std": (0.0,)}, UsageError, "must not be 0"),
    (NCHW, {"scale": 0.0}, UsageError, "must not be 0"),
    (NCHW, {"jpeg_quality": 0}, UsageError, r"1\.\.100"),
    ("g (float[1,9] x) => (float[1,9] y) { y = Neg(x) }", {}, ModelError, r"has shape \[1, 9\]"),
    ("g (int64[1,3,6,8] x) => (int64[1,3,6,8] y) { y = Neg(x) }", {}, ModelError, "is int64, which is"),
])  # fmt: skip
def test_what_cannot_be_an_image_is_one_clear_line(
    body: str, options: dict[str, Any], error: type[EdgecutError], message: str, parse: Parse
) -> None:
    with pytest.raises(error, match=message):
        pipeline.run([Preprocess(**{"image": "x", **options})], parse(body), Context(), use_cache=False)


def test_torchvision_numbers_without_a_scale_are_warned_about(parse: Parse) -> None:
    told: list[str] = []
    item = Preprocess("x", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pipeline.run([item], parse(NCHW), Context(warn=told.append), use_cache=False)
    assert len(told) == 1
    assert "--scale" in told[0]
