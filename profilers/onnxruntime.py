"""Times a program in ONNX Runtime on this machine: operators by its own profiler, and the whole."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgecut.ir import extract, sessions
from edgecut.ir.annotations import Conditions, Time
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program
from edgecut.profilers import clock, intervals, machine, stats
from edgecut.profilers.attribution import Kernel, attribute, scale
from edgecut.profilers.plan import Groups
from edgecut.profilers.record import Stats
from edgecut.profilers.result import GroupTimes
from edgecut.targets.onnx.unsigned import make_unsigned

SECONDS = 0.4
WARM_UP_S = 0.1
# How many kernels are timed at most: reading what the profiler wrote takes time too.
EVENTS = 30_000
# Which part of what the profiler adds to an inference falls within the times of kernels: 0.40 to 0.49 in
# chains of kernels that do next to nothing and in small networks. In larger ones it also disturbs the caches,
# but the kernels' part stays below 2.8 us each (Xeon, 2.6 GHz).
SHARE = 0.45
LARGEST_S = 2.5e-6
# No kernel is left with less than this part of its time.
LEAST_PART = 0.1
# What ONNX Runtime's optimizers add to the name of the value or node that a kernel stands for.
_SUFFIX = re.compile(r"(_kernel_time|_nchwc|_quant|_token_\d+|/duplicated|/\w+Fusion/)$")


def measure(program: Program, groups: Groups, threads: int, runs: int) -> GroupTimes:
    """Time every group of a program, and the whole, on the CPU.

    Args:
        program: The program; its quantized parts run as ONNX Runtime fuses them.
        groups: Its fusion groups.
        threads: CPU threads.
        runs: Timed inferences at most; 0: as time allows.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    data = _emitted(program)
    feeds = {spec.name: _sample(spec.dtype, spec.shape) for spec in program.inputs}
    import onnxruntime  # noqa: F401  (the library itself is not the model's memory, nor its load time)

    where = machine.describe()
    counted, before = machine.reset_peak(), machine.peak_bytes()
    start = time.perf_counter()
    call = _call(_session(data, threads, None), feeds)
    load = time.perf_counter() - start
    first = clock.once(_checked(call), threads).seconds
    memory = max(machine.peak_bytes() - before, 0) if counted else None
    whole, kernels = _both(call, data, feeds, threads, runs, _names(program, groups))
    raw = attribute(kernels, groups.order, groups.before, groups.weights)
    apart = intervals.apart(_sum(kernels), whole.median_s)
    if apart:
        ends = intervals.places(groups.order, groups.weights, intervals.affordable(whole.median_s, load))
        parts = [_prefix(program, groups, end, call, whole, threads, runs, len(ends)) for end in ends]
        raw = intervals.correct(raw, groups.order, ends, parts, whole.median_s)
    times = {g: Time(s, "measured", whole.spread) for g, s in scale(raw, whole.median_s).items()}
    conditions = Conditions(
        key="",
        threads=threads,
        runs=whole.runs,
        operators_s=_sum(kernels),
        correction="intervals" if apart else "scaled",
        attribution="onnxruntime profiler",
        outliers=whole.outliers,
        interrupted=whole.interrupted,
        load_s=load,
        first_s=first,
        memory_bytes=memory,
        runtime=f"onnxruntime {_version()}",
        machine=where.name,
        governor=where.governor,
        mhz=where.mhz,
        celsius=where.celsius,
    )
    return GroupTimes(times, Time(whole.median_s, "measured", whole.spread), conditions)


def time_whole(program: Program, threads: int, runs: int) -> Stats:
    """Time a program as a whole.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    feeds = {spec.name: _sample(spec.dtype, spec.shape) for spec in program.inputs}
    call = _checked(_call(_session(_emitted(program), threads, None), feeds))
    clock.repeat(call, WARM_UP_S, threads, runs)
    return stats.describe(clock.repeat(call, SECONDS, threads, runs))


def _emitted(program: Program) -> bytes:
    """The model as the cloud gets it."""
    found = program.copy()
    make_unsigned(found)
    return found.bytes()


def _sum(kernels: Sequence[Kernel]) -> float:
    return sum(k.seconds for k in kernels)


def _prefix(
    program: Program,
    groups: Groups,
    end: int,
    whole_call: Callable[[], object],
    whole: Stats,
    threads: int,
    runs: int,
    among: int,
) -> Stats:
    """Timings of a prefix of the graph, in turns with the whole."""
    part = extract.split(program, groups.prefix(program, end))[0]
    if part is None:
        return stats.describe([clock.Run(0.0, False)])
    feeds = {spec.name: _sample(spec.dtype, spec.shape) for spec in part.inputs}
    calls = [_checked(_call(_session(_emitted(part), threads, None), feeds)), whole_call]
    seconds = intervals.BUDGET_S / among / len(calls)
    found, beside = clock.in_turns(calls, [runs, runs], seconds, threads)
    return intervals.relative(stats.describe(found), stats.describe(beside), whole)


def _session(data: bytes, threads: int, profile: Path | None) -> Any:
    import onnxruntime

    options = sessions.options(threads)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises kinds of its own, without a common base
        raise ModelError(f"ONNX Runtime cannot run it: {_first_line(error)}") from error


def _call(session: Any, feeds: Mapping[str, Any]) -> Callable[[], object]:
    return lambda: session.run(None, feeds)


def _checked(call: Callable[[], object]) -> Callable[[], object]:
    """The same call; ONNX Runtime shows at its first use whether it runs the model at all."""

    def checked() -> object:
        try:
            return call()
        except Exception as error:  # onnxruntime raises kinds of its own, without a common base
            raise ModelError(f"ONNX Runtime cannot run it: {_first_line(error)}") from error

    return checked


def _both(
    call: Callable[[], object],
    data: bytes,
    feeds: Mapping[str, Any],
    threads: int,
    runs: int,
    names: Mapping[str, str],
) -> tuple[Stats, list[Kernel]]:
    """Time the whole, and its kernels in order by ONNX Runtime's profiler, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        session = _session(data, threads, Path(folder) / "profile")
        profiled = _call(session, feeds)
        clock.repeat(call, WARM_UP_S, threads, runs)
        clock.repeat(profiled, 0.0, threads)
        most = max(EVENTS // max(len(names), 1), clock.LEAST)
        most = min(most, runs) if runs else most
        found = clock.in_turns([call, profiled], [runs, most], SECONDS, threads)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    plain, slowed = map(stats.describe, found)
    inferences = _inferences(events)[-len(found[1]) :]
    same = [run for run in inferences if len(run) == len(inferences[0])]
    added = SHARE * max(slowed.median_s - plain.median_s, 0.0) / max(len(inferences[0]), 1)
    added = min(added, LARGEST_S)
    return plain, [_kernel(one, names, added) for one in zip(*same, strict=True)]


def _inferences(events: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Kernel events of each run; `model_run` closes a run in the file."""
    found: list[list[dict[str, Any]]] = [[]]
    for event in events:
        if event.get("name") == "model_run":
            found.append([])
        elif event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            found[-1].append(event)
    return [sorted(run, key=lambda e: int(e["ts"])) for run in found if run]


def _kernel(same: Sequence[dict[str, Any]], names: Mapping[str, str], added: float) -> Kernel:
    group = _group(same[0]["name"], names)
    seconds = stats.ticks([e["dur"] * 1e-6 for e in same])
    return Kernel((group,) if group else (), max(seconds - added, LEAST_PART * seconds))


def _group(name: str, names: Mapping[str, str]) -> str | None:
    """The group of a kernel by its name, shorn of the suffixes that optimizers add."""
    while name not in names:
        shorter = _SUFFIX.sub("", name)
        if shorter == name:
            return None
        name = shorter
    return names[name]


def _names(program: Program, groups: Groups) -> dict[str, str]:
    """The group of each node by the node's name and by the names of what it computes.

    What is in no group, such as dequantizing, is done for the first that reads it.
    """
    found: dict[str, str] = {}
    for node in reversed(list(program.nodes)):
        users = (user.name or "" for v in node.outputs for user, _ in v.uses())
        group = groups.of.get(node.name or "") or next((found[u] for u in users if u in found), None)
        if group is not None:
            found.update({v.name: group for v in node.outputs if v.name})
            found[node.name or ""] = group
    return found


def _sample(dtype: str, shape: Sequence[int | str | None]) -> Any:
    """Small random numbers: valid as indices, and no denormals."""
    random = np.random.default_rng(0)
    sizes = [d if isinstance(d, int) else 1 for d in shape]
    if np.issubdtype(np.dtype(dtype), np.floating):
        return random.random(sizes, dtype=np.float32).astype(dtype)
    return random.integers(0, 2, sizes).astype(dtype)


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
