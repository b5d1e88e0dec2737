"""Builds with coded cuts, run as a user runs them: LiteRT here, ONNX Runtime behind real HTTP."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edgecut.frontends.data import Sample
from edgecut.ir import annotations, coded, manifest
from edgecut.ir.annotations import Plan
from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import Together
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.boundary.boundary import Boundary
from edgecut.passes.numerics import Runner
from edgecut.runtime import compare, serving, wire
from edgecut.runtime.boundary import Codec
from edgecut.runtime.client import Client, CloudError
from edgecut.runtime.device import Device

Emit = Callable[[Program, Path, str, tuple[str, ...]], Program]


@dataclass(frozen=True)
class Build:
    """A build whose cuts are named after their encodings, and its server."""

    folder: Path
    program: Program
    url: str


@pytest.fixture(scope="session")
def build(
    measured: Program,
    value: str,
    encodings: tuple[str, ...],
    emit: Emit,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("coded")
    found = emit(measured.copy(), folder, value, encodings)
    with serving.background([folder]) as url:
        yield Build(folder, found, url)


def test_split_with_codec_is_the_reference(build: Build, images: list[Sample], each: str) -> None:
    """The whole with the codec in its midst, in ONNX Runtime, gives what the two halves give.

    LiteRT and ONNX Runtime sum in different orders, so a number that stands within 1e-5 of the edge of a
    step may be rounded otherwise: then one integer of 2,048 differs, which moves logits (of about 10) by
    less than 0.1. Without such an edge they agree to 1e-4.
    """
    plan = annotations.require(build.program.model, Plan, "")
    cut = next(f.cut for f in plan.cuts if f.cut.name == each)
    reference = Runner(coded.reference(build.program, cut), optimize=False)
    exact = 0
    with contextlib.closing(Device(build.folder, server=build.url)) as device:
        for image in images:
            error = np.abs(device.run(image, each).outputs["logits"] - reference(image)["logits"]).max()
            assert error < 0.1
            exact += error < 1e-4
    assert exact >= len(images) - 2


def test_uncoded_integers_give_the_same_answer(build: Build, images: list[Sample], each: str) -> None:
    """A server that is not ours takes the tensor as the manifest lists it, without any stream."""
    described = manifest.read(build.folder)
    (sent,) = described.cut(each).sends
    with (
        contextlib.closing(Device(build.folder, server=build.url)) as device,
        contextlib.closing(Device(build.folder, server=build.url, coded=False)) as plain,
    ):
        first, second = device.run(images[0], each), plain.run(images[0], each)
    assert first.outputs["logits"].tobytes() == second.outputs["logits"].tobytes()
    size = int(np.prod(sent.shape)) * np.dtype(sent.dtype).itemsize
    assert second.sent_bytes > size
    assert sent.coding is not None
    assert (first.sent_bytes < second.sent_bytes) == (sent.coding.coder != "none")


def test_coded_is_a_fraction_of_plain_integers(build: Build, images: list[Sample]) -> None:
    """And what was measured on calibration data is what is sent: the same within a quarter."""
    with contextlib.closing(Device(build.folder, server=build.url)) as device:
        sizes = {
            n: np.mean([device.run(i, n).sent_bytes for i in images]) for n in ("int8", "klt-dct{step=0.4}")
        }
    assert sizes["klt-dct{step=0.4}"] < sizes["int8"] / 2
    planned = manifest.read(build.folder).cut("klt-dct{step=0.4}").up_bytes
    assert 0.75 * planned < sizes["klt-dct{step=0.4}"] - 300 < 1.25 * planned  # 300: the request's header


def test_check_holds_coded_cuts_to_their_answers(build: Build, images: list[Sample]) -> None:
    """Not to an error of 1e-4, as what is not coded, or coded without loss."""
    names = ["klt-dct{step=0.4}", "int8", "float32{coder=zlib}"]
    coarse, fine, lossless = compare.compare(build.folder, images, cuts=names)
    assert coarse.failure is None
    assert (coarse.agreement, fine.agreement) == (1.0, 1.0)
    assert coarse.max_rel_error > fine.max_rel_error > 1e-4 > lossless.max_rel_error
    assert coarse.sent_bytes < fine.sent_bytes < lossless.sent_bytes
    strict = compare.compare(build.folder, images, cuts=names, limits=compare.Limits(min_agreement=1.01))
    assert [r.failure is None for r in strict] == [False, False, False]


def test_check_holds_a_coarse_cut_to_what_was_measured_of_it(
    root: Path, profiled: Program, emit: Emit, value: str, tmp_path: Path, images: list[Sample]
) -> None:
    """Less chance on few samples; what was measured good and is not fails, whatever the plan allowed."""
    coarse = "klt-dct{step=5}"
    calibration = root / "fixtures" / "digits_calibration.npz"
    item = Boundary(calibration=calibration, encodings=(coarse,), values=(value,), samples=40)
    emit(item.run(profiled.copy(), Context()), tmp_path, value, (coarse,))
    described = manifest.read(tmp_path)
    (found,) = compare.compare(tmp_path, images, limits=compare.Limits(min_agreement=0.0))
    assert found.agreement is not None
    assert found.agreement < 0.97
    for together, fails in (
        (None, True),
        (Together(200, 6.0, found.agreement), False),
        (Together(200, 20.0, 1.0), True),
    ):
        cuts = (replace(described.cuts[0], together=together),)
        manifest.write(replace(described, cuts=cuts), tmp_path / manifest.FILE_NAME)
        (report,) = compare.compare(tmp_path, images)
        assert (report.failure is not None) == fails


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: np.concatenate([d[:60], d[60:61] ^ 1, d[61:]]), "CRC"),
        (lambda d: np.concatenate([d[:5], d[5:6] ^ 1, d[6:]]), "other tables"),
        (lambda d: d[1:], "not INT8"),
        (lambda d: d[:0], "not INT8"),
    ],
)
def test_a_damaged_stream_is_refused(build: Build, damage: object, message: str) -> None:
    described = manifest.read(build.folder)
    record = described.cut("klt-dct{step=0.4}")
    (sent,) = record.sends
    stream, _ = Codec(sent).encode(np.ones(sent.shape, sent.dtype))
    assert callable(damage)
    request = wire.Request({sent.name: damage(stream)})
    with contextlib.closing(Client(build.url)) as client, pytest.raises(CloudError, match=message) as caught:
        client.infer(record.cloud_model or "", request)
    assert caught.value.status == 400


def test_manifest_with_damaged_tables_is_one_clear_error(build: Build) -> None:
    (sent,) = manifest.read(build.folder).cut("klt-dct{step=0.4}").sends
    assert sent.coding is not None
    broken = replace(sent, coding=replace(sent.coding, tables=sent.coding.tables[:-40]))
    with pytest.raises(ModelError, match="coding is damaged"):
        Codec(broken)
