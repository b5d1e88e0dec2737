"""The pass: its figures are those that a user gets on data that no coder has seen."""

from pathlib import Path

import numpy as np
import pytest

from edgecut.frontends import data
from edgecut.ir import annotations, coded, extract
from edgecut.ir.annotations import Coding, Encodings
from edgecut.ir.errors import EdgecutError
from edgecut.ir.program import Program
from edgecut.passes import pipeline
from edgecut.passes.base import Context
from edgecut.passes.boundary import activations
from edgecut.passes.boundary.boundary import Boundary
from edgecut.passes.numerics import compare


def test_table_begins_with_the_tensor_as_it_is(
    measured: Program, value: str, encodings: tuple[str, ...]
) -> None:
    table = annotations.require(measured.value(value), Encodings, "").table
    assert [row.name for row in table] == ["float32", *encodings]
    assert (table[0].mean_bytes, table[0].agreement, table[0].encode_s) == (4 * 32 * 64, 1.0, 0.0)
    assert table[2].mean_bytes == 32 * 64
    assert all(row.encode_s > 0 for row in table if row.name not in ("float32", "float16"))


def test_damage_is_that_of_the_reference(root: Path, measured: Program, value: str) -> None:
    """The figures come from NumPy between two parts of the graph; the reference is one graph."""
    dataset = list(data.load(root / "fixtures" / "digits_calibration.npz", measured.inputs))
    chosen = np.linspace(0, len(dataset) - 1, 40).astype(int)[1::2]
    cut = extract.named_cut(measured, value)
    for row in annotations.require(measured.value(value), Encodings, "").table[1:]:
        whole = coded.reference(measured, type(cut)(cut.name, cut.crossing, encodings=(row.name,)))
        found = compare(measured, whole, [dataset[i] for i in chosen])
        assert found.agreement == row.agreement
        assert abs(found.sqnr_db - row.sqnr_db) < 1.0 or found.sqnr_db > 100


def test_coarser_steps_take_fewer_bytes_and_do_more_damage(root: Path, profiled: Program, value: str) -> None:
    calibration = root / "fixtures" / "digits_calibration.npz"
    names = tuple(f"klt-dct{{step={step}}}" for step in (0.25, 0.5, 1, 2))
    item = Boundary(calibration=calibration, encodings=names, values=(value,), samples=24)
    table = annotations.require(item.run(profiled.copy(), Context()).value(value), Encodings, "").table[1:]
    sizes, noise = [row.mean_bytes for row in table], [row.sqnr_db for row in table]
    assert sizes == sorted(sizes, reverse=True)
    assert noise == sorted(noise, reverse=True)


def test_all_cuts_worth_a_look_are_measured_by_default(root: Path, profiled: Program, value: str) -> None:
    calibration = root / "fixtures" / "digits_calibration.npz"
    found = Boundary(calibration=calibration, samples=8).run(profiled.copy(), Context())
    wanted = {name for place in activations.worthwhile(profiled) for name in place.made}
    assert {n for n, v in found.values().items() if annotations.get(v, Coding)} == wanted
    assert value in wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "calibration"),
        ({"calibration": "digits_calibration.npz", "encodings": ("jpeg",)}, "no encoding"),
        ({"calibration": "digits_calibration.npz", "values": ("logits",)}, "no cut sends"),
        ({"calibration": "digits_calibration.npz", "samples": 4}, "at least 8"),
    ],
)
def test_what_cannot_be_done_is_told(
    root: Path, profiled: Program, options: dict[str, object], message: str
) -> None:
    if "calibration" in options:
        options = {**options, "calibration": root / "fixtures" / str(options["calibration"])}
    item = Boundary(**options)  # type: ignore[arg-type]
    with pytest.raises(EdgecutError, match=message):
        pipeline.run([item], profiled.copy(), Context())
