"""Times of kernels reach the groups they came from, and none is lost on the way."""

from __future__ import annotations

import functools
import itertools
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgecut.profilers import clock, intervals, kernels, plan
from edgecut.profilers.attribution import Kernel, attribute, scale
from edgecut.profilers.clock import Run
from edgecut.profilers.kernels import Operator
from edgecut.profilers.record import OperatorTime, Stats
from edgecut.profilers.stats import describe, ticks

ORDER = ["a", "b", "c", "d"]
BEFORE = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 1.0}


def test_a_group_without_a_kernel_shares_that_of_the_latest_group_it_reads() -> None:
    timed = [Kernel(("a",), 10.0), Kernel(("b",), 20.0), Kernel(("c",), 30.0)]
    # d (an addition, say) was fused into c, which is the later of its two sources.
    assert attribute(timed, ORDER, BEFORE, WEIGHTS) == {"a": 10.0, "b": 20.0, "c": 20.0, "d": 10.0}


def test_a_kernel_of_two_groups_is_shared_by_their_weights() -> None:
    timed = [Kernel(("a", "c"), 30.0), Kernel(("b",), 1.0), Kernel(("d",), 1.0)]
    assert attribute(timed, ORDER, BEFORE, WEIGHTS) == {"a": 10.0, "b": 1.0, "c": 20.0, "d": 1.0}


def test_what_the_runtime_added_counts_towards_what_came_before() -> None:
    timed = [Kernel((), 5.0), Kernel(("a",), 10.0), Kernel(("b",), 2.0), Kernel((), 1.0), Kernel(("c",), 3.0)]
    found = attribute([*timed, Kernel(("d",), 4.0)], ORDER, BEFORE, WEIGHTS)
    assert found == {"a": 15.0, "b": 3.0, "c": 3.0, "d": 4.0}


@given(st.lists(st.tuples(st.sets(st.sampled_from(ORDER)), st.just(0.0) | st.floats(1e-9, 1e3)), min_size=1))
def test_nothing_is_lost(timed: list[tuple[set[str], float]]) -> None:
    listed = [Kernel(tuple(sorted(groups)), seconds) for groups, seconds in timed]
    found = attribute(listed, ORDER, BEFORE, WEIGHTS)
    assert set(found) == set(ORDER)
    assert sum(found.values()) == pytest.approx(sum(k.seconds for k in listed), rel=1e-9, abs=1e-9)
    assert sum(scale(found, 7.0).values()) == pytest.approx(7.0 if any(found.values()) else 0.0)


def op(kind: str, *sources: str) -> Operator:
    return Operator(kind, sources)


def kernel(name: str, delegated: bool = True) -> OperatorTime:
    return OperatorTime(name, 1e-6, delegated, 0, 0)


def test_kernels_are_matched_by_position_over_fusions_and_insertions() -> None:
    listed = [
        op("CONV_2D", "conv1"), op("DEPTHWISE_CONV_2D", "conv2"), op("CONV_2D", "conv3"), op("ADD", "add"),
        op("MEAN", "mean"), op("RESHAPE", "flatten"), op("FULLY_CONNECTED", "fc"), op("SOFTMAX", "softmax"),
    ]  # fmt: skip
    timed = [
        kernel("Convert (NC)"),  # the delegate's own, at its border
        kernel("Convolution (NHWC, QC8) IGEMM"),
        kernel("Convolution (NHWC, QC8) DWConv"),
        kernel("Fully Connected (NC, QS8, QC8W) GEMM"),  # a 1x1 convolution
        kernel("Add (ND)"),
        kernel("Mean (ND) Reduce2"),
        kernel("Fully Connected (NC, F32) GEMM"),  # the reshape vanished
        kernel("SOFTMAX", delegated=False),
    ]
    found = kernels.match(listed, timed)
    names = [o.sources[0] if o else None for o in found]
    assert names == [None, "conv1", "conv2", "conv3", "add", "mean", "fc", "softmax"]


def test_kernels_without_a_name_of_their_own_do_not_shift_those_after_them() -> None:
    # A detector's block in int8: each convolution with SiLU, split, joined. XNNPACK makes one table of the
    # sigmoid and its product, calls it invalid, and calls splitting and joining copies.
    block = [
        op("PAD", "pad"), op("CONV_2D", "conv"), op("LOGISTIC", "sigmoid"), op("MUL", "silu"),
        op("SPLIT", "split"), op("CONV_2D", "conv2"), op("LOGISTIC", "sigmoid2"), op("MUL", "silu2"),
        op("CONCATENATION", "join"),
    ]  # fmt: skip
    names = [
        "Convolution (NHWC, QC8) IGEMM", "Invalid Unary Op", "Copy (NC, X8)",
        "Fully Connected (NC, QS8, QC8W) GEMM", "Invalid Unary Op", "Copy (NC, X8)",
    ]  # fmt: skip
    found = kernels.match(block * 9, [kernel(name) for name in names] * 9)
    expected = ["conv", "sigmoid", "split", "conv2", "sigmoid2", "join"] * 9
    assert [o.sources[0] if o else None for o in found] == expected


KINDS = {"CONV_2D": "Convolution (NHWC, F32) IGEMM", "ADD": "Add (ND)", "MUL": "Multiply (ND)"}
FREE_KINDS = {"SPLIT": "Copy (NC, X32)", "CONCATENATION": "Copy (NC, X32)", **KINDS}
SEQUENCES = st.lists(st.sampled_from(sorted(FREE_KINDS)), max_size=7)


@given(SEQUENCES, SEQUENCES)
def test_no_other_alignment_fits_better(left: list[str], right: list[str]) -> None:
    operators = [op(kind, str(i)) for i, kind in enumerate(left)]
    timed = [kernel(FREE_KINDS[kind]) for kind in right]
    scores = kernels._scores(operators, timed)

    @functools.cache
    def best(i: int, j: int) -> float:
        """Every way to align the first i with the first j, by definition."""
        if i == 0 or j == 0:
            return -kernels.SKIP * (i + j)
        skipped = max(best(i - 1, j), best(i, j - 1)) - kernels.SKIP
        return max(skipped, best(i - 1, j - 1) + float(scores[i - 1, j - 1]))

    pairs = kernels._alignment(scores)
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(pairs))
    gaps = len(left) + len(right) - 2 * len(pairs)
    assert sum(float(scores[pair]) for pair in pairs) - kernels.SKIP * gaps == pytest.approx(
        best(len(left), len(right))
    )


def timed(seconds: float, spread: float = 0.0) -> Stats:
    return Stats(seconds, seconds, seconds, spread, 10, 0)


def test_a_certain_interval_corrects_the_sums_and_keeps_proportions_inside() -> None:
    times = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 2.0}
    found = intervals.correct(times, ORDER, [2], [timed(7.0)], 10.0)
    # The prefix is as certain as one can be, to 1 %: that far the operators' own times pull it back.
    assert found == pytest.approx({"a": 1.75, "b": 5.25, "c": 1.5, "d": 1.5}, rel=0.06)


def test_a_prefix_cannot_make_an_interval_many_times_what_the_runtime_saw() -> None:
    """A prefix that hands out a large tensor takes longer than that part of the whole."""
    times = {"a": 1.0, "b": 1.0, "c": 4.0, "d": 4.0}
    found = intervals.correct(times, ORDER, [2], [timed(9.0)], 10.0)
    assert sum(found.values()) == pytest.approx(10.0)
    assert (found["a"] + found["b"]) / (found["c"] + found["d"]) <= 4 / 4 + 1e-9


def test_noisy_prefixes_do_not_outweigh_what_the_runtime_saw() -> None:
    """Ten equal groups, and prefixes that are off by half a group each."""
    order = [f"g{i}" for i in range(10)]
    times = dict.fromkeys(order, 1.0)
    ends = list(range(1, 10))
    prefixes = [timed(end + (0.5 if end % 2 else -0.5), spread=0.5 / end) for end in ends]
    found = intervals.correct(times, order, ends, prefixes, 10.0)
    assert all(0.7 < seconds < 1.3 for seconds in found.values())


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=12), st.integers(1, 12), st.data())
def test_intervals_add_up_to_the_whole_and_are_never_negative(
    weights: list[float], count: int, data: st.DataObject
) -> None:
    order = [f"g{i}" for i in range(len(weights))]
    times = dict(zip(order, weights, strict=True))
    ends = intervals.places(order, times, count)
    assert ends == sorted(set(ends))
    assert all(0 < end < len(order) for end in ends)
    noisy = [timed(data.draw(st.floats(0, 30)), data.draw(st.floats(0, 2))) for _ in ends]
    found = intervals.correct(times, order, ends, noisy, 20.0)
    assert min(found.values()) >= 0
    assert sum(found.values()) == pytest.approx(20.0)


def test_pauses_do_not_fall_on_an_operator() -> None:
    """An operator of 1.25 us on a clock of whole microseconds, interrupted in a fifth of the runs."""
    assert ticks([1e-6] * 12 + [2e-6] * 4 + [4e-3] * 4) == pytest.approx(1.25e-6)
    assert ticks([3e-6]) == 3e-6


def test_far_runs_are_left_out_and_counted() -> None:
    found = describe(runs(*[1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 0.99, 1.01] * 4, 9.0))
    assert found.outliers == 1
    assert found.runs == 32
    assert found.median_s == 1.0
    assert found.spread < 0.03


def runs(*seconds: float) -> list[Run]:
    return [Run(s, False) for s in seconds]


def test_the_spread_is_that_of_a_drifting_machine_not_of_single_runs() -> None:
    noisy = [0.9, 1.0, 1.1] * 40
    steady = describe(runs(*noisy))
    drifting = describe(runs(*(s * (1 + 0.08 * i / 120) for i, s in enumerate(noisy))))
    assert steady.spread < 0.01
    # The first and the last of ten stretches are nine tenths of the drift apart.
    assert drifting.spread == pytest.approx(0.07, abs=0.02)


def test_calls_in_turns_see_the_same_stretches_of_time() -> None:
    order: list[str] = []
    found = clock.in_turns([lambda: order.append("a"), lambda: order.append("b")], [0, 7], 0.02)
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert len(found[0]) + len(found[1]) == len(order)
    assert len(found[1]) == 7
    assert len(found[0]) >= clock.LEAST
    assert changes >= 1
    assert order.index("b") < len(order) - 1 - order[::-1].index("a")


def test_a_call_that_takes_long_is_still_timed_a_few_times() -> None:
    import time

    assert len(clock.repeat(lambda: time.sleep(1e-3), 0.0)) == clock.LEAST


def test_time_that_others_had_the_processor_is_not_counted() -> None:
    """Two processes on one core, for each of which a call takes as long as alone."""
    import os
    import subprocess
    import sys

    def busy() -> None:
        sum(range(1_000_000))  # some 20 ms: longer than the system lets one process run

    core = min(os.sched_getaffinity(0))
    everywhere = os.sched_getaffinity(0)
    rival = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{core}])\nwhile 1: pass"]
    )
    try:
        os.sched_setaffinity(0, [core])
        found = [clock.once(busy, 1) for _ in range(30)]
        passed = [clock.once(busy, 2).seconds for _ in range(30)]
    finally:
        os.sched_setaffinity(0, everywhere)
        rival.kill()
        rival.wait()
    taken = [r.seconds for r in found if r.interrupted]
    assert taken, "two busy processes on a core interrupt each other"
    # Half of the core each: what passes is twice what a call takes. Other work only makes that more.
    assert statistics.median(passed) > 1.4 * statistics.median(taken)


def test_groups_come_after_what_they_read_even_from_the_middle_of_another(make: Any) -> None:
    """One group holds the first and the third node; the second, a group of its own, reads the first."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Sigmoid", ["a"], ["b"], "second"),
        helper.make_node("Neg", ["a"], ["c"], "third"),
        helper.make_node("Add", ["b", "c"], ["y"], "last"),
    ]
    program = make(nodes, {"x": (1, 4)}, ["y"])
    members = {"second": ("second",), "third": ("first", "third"), "last": ("last",)}
    found = plan.groups(program, members, dict.fromkeys(members, 1.0))
    assert found.order == ["third", "second", "last"]
    assert found.before == {"second": ("third",), "third": (), "last": ("second", "third")}


def test_a_prefix_is_as_slow_as_the_whole_beside_it() -> None:
    # The machine was half as fast while the prefix was timed.
    assert intervals.relative(timed(6.0), timed(20.0), timed(10.0)).median_s == pytest.approx(3.0)


@given(st.floats(1e-5, 10), st.floats(1e-3, 10))
def test_prefixes_are_few_where_they_take_long(whole: float, load: float) -> None:
    count = intervals.affordable(whole, load)
    assert intervals.FEWEST <= count <= intervals.MOST
    assert intervals.affordable(whole * 2, load * 2) <= count


def test_kernels_that_an_optimizer_renamed_and_dequantizing_reach_their_groups(make: Any) -> None:
    from edgecut.profilers import onnxruntime

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
        helper.make_node("Conv", ["d", "w"], ["c"], "conv"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["y"], "requantize"),
    ]
    weights = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "w": np.ones((4, 4, 1, 1), np.float32),
    }
    program = make(nodes, {"x": (1, 4, 5, 5)}, ["y"], weights)
    members = {"quantize": ("quantize",), "requantize": ("conv", "requantize")}
    names = onnxruntime._names(program, plan.groups(program, members, dict.fromkeys(members, 1.0)))
    group = {
        name: onnxruntime._group(name, names)
        for name in (
            "conv_token_44_kernel_time",
            "dequantize/duplicated_kernel_time",
            "conv_nchwc_kernel_time",
            "conv/QuickGeluFusion/_kernel_time",
            "Transpose_token_3_kernel_time",
        )
    }
    assert list(group.values()) == ["requantize"] * 4 + [None]
