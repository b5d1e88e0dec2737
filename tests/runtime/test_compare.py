"""The comparison with the imported model finds what differs, and nothing where nothing does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.ir import files, manifest, typed
from edgecut.ir.errors import ModelError
from edgecut.runtime import compare
from edgecut.runtime.compare import Limits


def samples(digits: Any, count: int) -> Iterator[dict[str, np.ndarray]]:
    for image in digits.images[:count]:
        yield {"input": image}


def rewrite(build: Path, to: Path, **changes: Any) -> Path:
    """A copy of a build whose manifest says something else."""
    shutil.copytree(build, to)
    text = typed.dumps({**typed.encode(manifest.read(build, verify=False)), **changes})
    (to / "manifest.json").write_text(text)
    return to


def spoil(build: Path, to: Path) -> Path:
    """A copy of a build whose weights differ, with hashes that fit them."""
    shutil.copytree(build, to)
    weights = to / "cloud" / "digits_cut0" / "1" / "weights.bin"
    values = np.fromfile(weights, np.float32)
    weights.write_bytes(np.roll(values, 1).tobytes())
    found = typed.encode(manifest.read(build))
    for record in found["files"]:
        record["sha256"] = files.sha256(to / record["path"])
    (to / "manifest.json").write_text(typed.dumps(found))
    return to


def test_faithful_build_passes(cloud_build: Path, digits: Any) -> None:
    (report,) = compare.compare(cloud_build, samples(digits, 30), digits.labels[:30])
    assert report.failure is None
    assert report.max_rel_error < 1e-5
    assert (report.samples, report.agreement) == (30, 1.0)
    assert report.accuracy == report.reference_accuracy
    assert 4096 < report.sent_bytes < 4600


def test_other_weights_fail(cloud_build: Path, digits: Any, tmp_path: Path) -> None:
    build = spoil(cloud_build, tmp_path / "b")
    (report,) = compare.compare(build, samples(digits, 5))
    assert report.failure is not None
    assert "relative error" in report.failure
    (report,) = compare.compare(build, samples(digits, 5), limits=Limits(max_error=1e9))
    assert report.failure is None


def test_quantized_build_is_held_to_its_answers(cloud_build: Path, digits: Any, tmp_path: Path) -> None:
    build = rewrite(spoil(cloud_build, tmp_path / "a"), tmp_path / "b", quantization="int8")
    (report,) = compare.compare(build, samples(digits, 20), digits.labels[:20])
    assert report.failure is not None
    assert "accuracy drops" in report.failure
    (report,) = compare.compare(build, samples(digits, 20))
    assert report.failure is not None
    assert "agreement" in report.failure


def test_damaged_build_is_an_error(cloud_build: Path, digits: Any, tmp_path: Path) -> None:
    build = tmp_path / "b"
    shutil.copytree(cloud_build, build)
    (build / "reference.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="differs from its hash"):
        compare.compare(build, samples(digits, 1))


def test_no_samples_is_an_error(cloud_build: Path) -> None:
    with pytest.raises(ModelError, match="no samples"):
        compare.compare(cloud_build, [])


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.inf], [1.0, np.inf], 0.0),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, -np.inf], [1.0, np.inf], np.inf),
        ([1.0, 2.5], [1.0, 2.0], 0.5),
    ],
)
def test_nan_equals_nan_and_nothing_else(found: list[float], expected: list[float], error: float) -> None:
    assert compare._error(np.array(found), np.array(expected))[0] == error
