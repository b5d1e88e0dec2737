"""Times a program in ONNX Runtime on this machine: operators by its own profiler, and the whole."""

from __future__ import annotations

import json
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
from edgecut.profilers import intervals, machine, stats
from edgecut.profilers.attribution import Kernel, attribute, scale
from edgecut.profilers.plan import Groups
from edgecut.profilers.record import Stats
from edgecut.profilers.result import GroupTimes

BUDGET_S = 0.4
WARM_UP_S = 0.1
# What ONNX Runtime's optimizers add to the name of the value or node that a kernel stands for.
_SUFFIXES = ("_kernel_time", "_nchwc", "_quant")


def measure(program: Program, groups: Groups, threads: int, runs: int) -> GroupTimes:
    """Time every group of a program, and the whole, on the CPU.

    Args:
        program: The program; its quantized parts run as ONNX Runtime fuses them.
        groups: Its fusion groups.
        threads: CPU threads.
        runs: Timed inferences at most.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    data = program.bytes()
    feeds = {spec.name: _sample(spec.dtype, spec.shape) for spec in program.inputs}
    import onnxruntime  # noqa: F401  (the library itself is not the model's memory, nor its load time)

    where = machine.describe()
    counted, before = machine.reset_peak(), machine.peak_bytes()
    start = time.perf_counter()
    whole_call = _call(_session(data, threads, None), feeds)
    load = time.perf_counter() - start
    first = stats.repeat(whole_call, 1, 0.0, 1)[0]
    memory = max(machine.peak_bytes() - before, 0) if counted else None
    stats.repeat(whole_call, runs, WARM_UP_S, 2)
    whole = stats.quiet(whole_call, runs, BUDGET_S)
    names = _names(program, groups)
    kernels = _kernels(data, feeds, threads, whole.runs, names)
    if _apart(kernels, whole):
        # Perhaps other work disturbed one of them: both again, and the quicker of each counts.
        whole = min(whole, stats.quiet(whole_call, runs, BUDGET_S), key=lambda s: s.median_s)
        kernels = min(kernels, _kernels(data, feeds, threads, whole.runs, names), key=_sum)
    raw = attribute(kernels, groups.order, groups.before, groups.weights)
    apart = _apart(kernels, whole)
    if apart:
        raw = intervals.correct(raw, groups.order, *_prefixes(program, groups, threads, runs), whole.median_s)
    times = {g: Time(s, "measured", whole.spread) for g, s in scale(raw, whole.median_s).items()}
    conditions = Conditions(
        key="",
        threads=threads,
        runs=whole.runs,
        operators_s=_sum(kernels),
        correction="intervals" if apart else "scaled",
        attribution="onnxruntime profiler",
        outliers=whole.outliers,
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
    call = _call(_session(program.bytes(), threads, None), feeds)
    stats.repeat(call, runs, WARM_UP_S, 2)
    return stats.quiet(call, runs, BUDGET_S)


def _sum(kernels: Sequence[Kernel]) -> float:
    return sum(k.seconds for k in kernels)


def _apart(kernels: Sequence[Kernel], whole: Stats) -> bool:
    return abs(_sum(kernels) / whole.median_s - 1) > intervals.TOLERANCE


def _prefixes(program: Program, groups: Groups, threads: int, runs: int) -> tuple[list[int], list[Stats]]:
    """Ends and timings of prefixes of the graph."""
    ends = intervals.places(groups.order, groups.weights, intervals.PREFIXES)
    cuts = [groups.prefix(program, end) for end in ends]
    parts = [extract.split(program, cut)[0] for cut in cuts]
    return ends, [time_whole(part, threads, runs) if part else stats.describe([0.0]) for part in parts]


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
    """A call without arguments; its first use shows whether the model runs at all."""
    try:
        session.run(None, feeds)
    except Exception as error:  # as above
        raise ModelError(f"ONNX Runtime cannot run it: {_first_line(error)}") from error
    return lambda: session.run(None, feeds)


def _kernels(
    data: bytes, feeds: Mapping[str, Any], threads: int, runs: int, names: Mapping[str, str]
) -> list[Kernel]:
    """Typical times of the kernels, in order, over ``runs`` inferences under ONNX Runtime's profiler."""
    with tempfile.TemporaryDirectory() as folder:
        session = _session(data, threads, Path(folder) / "profile")
        for _ in range(runs + 2):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    inferences = _inferences(events)[2:]
    same = [run for run in inferences if len(run) == len(inferences[0])]
    return [_kernel(one, names) for one in zip(*same, strict=True)]


def _inferences(events: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Kernel events of each run; `model_run` closes a run in the file."""
    found: list[list[dict[str, Any]]] = [[]]
    for event in events:
        if event.get("name") == "model_run":
            found.append([])
        elif event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            found[-1].append(event)
    return [sorted(run, key=lambda e: int(e["ts"])) for run in found if run]


def _kernel(same: Sequence[dict[str, Any]], names: Mapping[str, str]) -> Kernel:
    group = _group(same[0]["name"], names)
    return Kernel((group,) if group else (), stats.midmean([e["dur"] for e in same]) * 1e-6)


def _group(name: str, names: Mapping[str, str]) -> str | None:
    """The group of a kernel by its name, shorn of the suffixes that optimizers add."""
    while True:
        if name in names:
            return names[name]
        suffix = next((s for s in _SUFFIXES if name.endswith(s)), None)
        if suffix is None:
            return None
        name = name.removesuffix(suffix)


def _names(program: Program, groups: Groups) -> dict[str, str]:
    """The group of each node by the node's name and by the names of what it computes."""
    found: dict[str, str] = {}
    for node in program.nodes:
        group = groups.of.get(node.name or "")
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
