"""Fitting finds the figures that made the measurements, and its error is that of models not seen."""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.ir.annotations import Time
from edgecut.ir.errors import UsageError
from edgecut.ir.work import Kind, Precision, Work
from edgecut.passes.profile import compare, refit, study
from edgecut.passes.profile.report import SCHEMA, Report, Row
from edgecut.profilers import analytic, fit
from edgecut.profilers.fit import Rates, Sample
from edgecut.targets import spec, toml

TRUE: dict[tuple[Precision, Kind], Rates] = {
    ("float32", "conv"): Rates(5e-6, 2e-11, 1e-10),
    ("float32", "pool"): Rates(2e-6, 0.0, 3e-10),
    ("int8", "conv"): Rates(4e-6, 5e-12, 2e-10, per_loop=3e-9, per_tap=2e-8, per_output_byte=5e-11),
    ("int8", "pool"): Rates(1e-6, 0.0, 1e-11, per_spilt_byte=3e-10),
}


def samples(models: int, noise: float = 0.0, seed: int = 0) -> list[Sample]:
    random = np.random.default_rng(seed)
    found = []
    for m in range(models):
        for _ in range(20):
            for (precision, kind), true in TRUE.items():
                macs = int(10 ** random.uniform(5, 8)) if kind == "conv" else 0
                loops = int(macs / 10 ** random.uniform(0.5, 3))
                taps = int(loops / 10 ** random.uniform(0.5, 3))
                moved = int(10 ** random.uniform(4, 7))
                written = int(moved * random.uniform(0.1, 0.9))
                work = Work(kind, precision, macs, moved, 0, written, loops, taps)
                factor = 1 + noise * random.standard_normal()
                found.append(Sample(f"m{m}", (work,), true.seconds(work) * max(factor, 0.1)))
    return found


def test_what_made_the_measurements_is_found_again() -> None:
    table = fit.rates(samples(3))
    for key, true in TRUE.items():
        # Without noise the problem is determined, but for the little weight against fixed costs.
        assert table[key].fixed == pytest.approx(true.fixed, rel=5e-3)
        assert table[key].per_byte == pytest.approx(true.per_byte, rel=5e-3)
        assert table[key].per_mac == pytest.approx(true.per_mac, rel=5e-3, abs=1e-15)
        for rate in ("per_loop", "per_tap", "per_output_byte", "per_spilt_byte"):
            # What costs nothing is found to cost next to nothing beside what does.
            assert getattr(table[key], rate) == pytest.approx(getattr(true, rate), rel=0.02, abs=2e-12)


def test_stretches_of_several_operators_are_told_apart() -> None:
    single = [s for s in samples(4) if s.parts[0].precision == "float32"]
    pairs = [
        Sample(a.model, (*a.parts, *b.parts), a.seconds + b.seconds) for a, b in itertools.pairwise(single)
    ]
    table = fit.rates(pairs)
    assert table["float32", "conv"].per_mac == pytest.approx(2e-11, rel=1e-3)
    assert table["float32", "pool"].per_byte == pytest.approx(3e-10, rel=1e-3)


def test_far_off_measurements_hardly_matter() -> None:
    clean = samples(3, noise=0.02)
    spoilt = [Sample(s.model, s.parts, s.seconds * (0.25 if i % 14 == 0 else 1)) for i, s in enumerate(clean)]
    table = fit.rates(spoilt)
    # A fourteenth of the samples is four times too fast, which relative least squares alone would follow.
    assert table["float32", "conv"].per_mac == pytest.approx(2e-11, rel=0.15)


def test_a_few_measurements_near_nothing_do_not_make_a_kind_free() -> None:
    # As where a runtime's profiler hands a convolution's time to another operator.
    clean = samples(3, noise=0.02)
    convs = [s for s in clean if s.parts[0].kind == "conv"]
    lost = {id(s) for s in convs[::8]}
    table = fit.rates([replace(s, seconds=s.seconds / 500) if id(s) in lost else s for s in clean])
    assert table["float32", "conv"].per_mac == pytest.approx(2e-11, rel=0.15)


def test_the_held_out_error_is_that_of_the_noise() -> None:
    quiet, loud = (fit.cross_validate(samples(5, noise), "test") for noise in (0.01, 0.2))
    assert quiet is not None
    assert loud is not None
    # The median of |N(0, s)| is 0.67 s; 300 samples give that within a third.
    assert 0.0045 < quiet.median < 0.009
    assert 0.09 < loud.median < 0.18
    assert quiet.whole_median < loud.p90


def test_operators_count_by_their_part_of_their_own_profile() -> None:
    """A model in a slow and in a fast precision: what is much of the fast one is little of both."""
    made = [replace(s, profile=s.parts[0].precision) for s in samples(4)]
    slow = [replace(s, seconds=s.seconds * 1e4) if s.profile == "float32" else s for s in made]
    counted = {h.sample.profile for h in fit.held_out(slow) if h.counts}
    assert counted == {"float32", "int8"}
    assert len(fit.held_out(slow)) == len(slow)


def test_one_model_is_no_proof() -> None:
    with pytest.raises(ValueError, match="two models"):
        fit.cross_validate(samples(1), "test")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_figures_of_a_target_predict_what_the_fit_predicts(seed: int) -> None:
    """Fractions of the peak are another way to write the same rates (to the four digits that are kept)."""
    table = fit.rates(samples(2, noise=0.05, seed=seed))
    found = fit.compute(fit.peaks(table), table, None)
    device = spec.Device("d", "d", "edge", "litert", 1, 64, compute=found)
    for sample in samples(1, seed=seed + 1):
        expected = fit.predict(table, sample.parts)
        # An efficiency is capped where an operator costs nothing measurable: at most 1/99 of the roofline.
        assert analytic.group_seconds(device, sample.parts[0]) == pytest.approx(expected, rel=0.02)


def report(model: str, factor: float = 1.0, seed: int = 0) -> Report:
    rows = tuple(
        Row(f"g{i}", ("Conv",), **asdict(s.parts[0]), edge=Time(s.seconds * factor, "measured", 0.01))
        for i, s in enumerate(samples(1, seed=seed))
    )  # fmt: skip
    total = Time(sum(r.edge.seconds for r in rows if r.edge), "measured", 0.01)
    return Report(SCHEMA, model, "local", "local", rows, total)


def test_a_target_made_from_profiles_loads_and_predicts_them(tmp_path: Path) -> None:
    from edgecut.ir import typed

    paths = []
    for i in range(3):
        paths.append(tmp_path / f"{i}.json")
        paths[-1].write_text(typed.dumps(report(f"m{i}", seed=i)))
    file = tmp_path / "mine.toml"
    file.write_text(study.new_target("mine", paths))
    device = spec.load_device(str(file))
    assert (device.name, device.reach) == ("mine", "")
    assert device.compute is not None
    assert device.compute.error is not None
    assert device.compute.error.median < 0.02
    row = report("m0").rows[0]
    assert row.edge is not None
    assert analytic.group_seconds(device, row.work) == pytest.approx(row.edge.seconds, rel=0.05)


def test_one_profile_makes_no_target() -> None:
    with pytest.raises(UsageError, match="two models"):
        refit.new("mine", [report("m0")])


@pytest.mark.parametrize("name", spec.device_names())
def test_targets_are_written_as_they_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text(toml.dumps(spec.load_device(name), "a comment\nof two lines"))
    assert spec.load_device(str(path)) == spec.load_device(name)


def test_profiles_side_by_side() -> None:
    slow, fast = report("m", 2.0), report("m", 1.0)
    found = compare.compare(compare.Column("slow", slow, "edge"), compare.Column("fast", fast, "edge"))
    assert found.differs
    assert found.whole.ratio == pytest.approx(0.5)
    assert all(line.ratio == pytest.approx(0.5) for line in found.lines)
    assert {k.name for k in found.kinds} == {"conv", "pool"}


def test_two_runs_within_their_spread_do_not_differ() -> None:
    found = compare.compare(
        compare.Column("a", report("m", 1.0), "edge"), compare.Column("b", report("m", 1.01), "edge")
    )
    assert not found.differs


def test_quantization_that_does_not_pay_is_said() -> None:
    def column(factor: float) -> compare.Column:
        return compare.Column("x", report("m", factor), "edge")

    assert any("does not pay" in text for text in compare.advice(column(1.0), column(1.3)))
    assert compare.advice(column(1.0), column(0.4)) == []
