"""Profiles one TFLite file on the machine that this runs on, and prints the profile as JSON.

This is what is sent to a device, and what times the edge on this machine: the same code on both. It
runs in a process of its own, so that its peak memory is the model's. Python 3.9, NumPy, ai-edge-litert.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from edgecut.ir import typed
from edgecut.profilers import clock, machine, stats
from edgecut.profilers.record import SCHEMA, FileProfile, OperatorTime, SignatureTimes, Stats

# Exit codes of the program: the model cannot be run, or the runtime is not there.
BAD_MODEL, NO_RUNTIME = 1, 3
INSTALL = "python3 -m pip install numpy ai-edge-litert"
LOOP = "WHILE"
"""The operator that runs others."""
WARM_UP_S = 0.1
SECONDS = 0.4


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Profile the file that the command line names; the result goes to stdout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="TFLite file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=0, help="timed inferences at most (0: as time allows)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time each signature for this long")
    parser.add_argument("--no-operators", action="store_true", help="time the whole model only")
    options = parser.parse_args(argv)
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        return _fail(f"LiteRT is not usable here: {error} (install it: {INSTALL})", NO_RUNTIME)
    if not options.model.is_file():
        return _fail(f"{options.model}: no such file", BAD_MODEL)
    try:
        found = profile(
            options.model, options.threads, options.runs, options.seconds, not options.no_operators
        )
    except (ValueError, RuntimeError) as error:
        return _fail(f"{options.model}: LiteRT cannot run it: {error}", BAD_MODEL)
    print(typed.dumps(found))
    return 0


class _Settings(NamedTuple):
    threads: int
    runs: int
    seconds: float


def profile(path: Path, threads: int, runs: int, seconds: float, operators: bool = True) -> FileProfile:
    """Profile every signature of a file.

    Args:
        path: The file.
        threads: CPU threads.
        runs: Timed inferences of each signature at most; 0: as time allows.
        seconds: Time each signature for this long (but a few times at least).
        operators: Time operators too.

    Raises:
        ValueError: LiteRT does not load the file.
        RuntimeError: LiteRT cannot run it.
    """
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    where = machine.describe()
    before = machine.peak_bytes()
    start = time.perf_counter()
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    calls = _signatures(interpreter)
    load = time.perf_counter() - start
    first = [clock.once(call, threads).seconds for call in calls.values()]
    memory = max(machine.peak_bytes() - before, 0)
    settings = _Settings(threads, runs, seconds)
    profiler, note = _profiler(path, threads) if operators else (None, "")
    if profiler is None:
        wholes = _in_turns(list(calls.values()), settings)
        timed = [SignatureTimes(n, w, f, note=note) for n, w, f in zip(calls, wholes, first)]
    else:
        timed = [_both(n, calls[n], f, profiler, settings) for n, f in zip(calls, first)]
    where = dataclasses.replace(where, celsius_after=machine.celsius())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    runtime = f"ai-edge-litert {version('ai-edge-litert')}"
    return FileProfile(SCHEMA, path.name, digest, runtime, threads, load, memory, where, tuple(timed))


def _signatures(interpreter: Any) -> dict[str, Callable[[], object]]:
    """A call without arguments per signature, its inputs set; kernels are prepared here."""
    names = list(interpreter.get_signature_list())
    if len(names) <= 1:
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], _sample(detail))
        return {names[0] if names else "": interpreter.invoke}
    return {name: _runner(interpreter.get_signature_runner(name)) for name in names}


def _runner(runner: Any) -> Callable[[], object]:
    feeds = {name: _sample(detail) for name, detail in runner.get_input_details().items()}
    runner(**feeds)  # sets the inputs
    invoke = getattr(getattr(runner, "_interpreter_wrapper", None), "Invoke", None)
    index = getattr(runner, "_subgraph_index", None)
    if invoke is None or index is None:
        return lambda: runner(**feeds)
    # The public call also copies inputs and outputs through Python, which would be timed with the model.
    return lambda: invoke(index)


def _sample(detail: dict[str, Any]) -> Any:
    """Small random numbers: valid as indices, and no denormals."""
    random = np.random.default_rng(0)
    if np.issubdtype(detail["dtype"], np.floating):
        return random.random(detail["shape"], dtype=np.float32).astype(detail["dtype"])
    return random.integers(0, 2, detail["shape"]).astype(detail["dtype"])


def _profiler(path: Path, threads: int) -> tuple[Any, str]:
    """LiteRT's own profiler of operators; None where it cannot be used, and why."""
    from edgecut.profilers.litert_capi import OperatorProfiler, ProfilerError

    try:
        return OperatorProfiler(path, threads), ""
    except ProfilerError as error:
        return None, f"operators were not timed: {error}"


def _in_turns(calls: Sequence[Callable[[], object]], settings: _Settings) -> list[Stats]:
    """Time signatures as wholes."""
    for call in calls:
        clock.repeat(call, WARM_UP_S, settings.threads, settings.runs)
    each = [settings.runs] * len(calls)
    found = clock.in_turns(calls, each, settings.seconds, settings.threads)
    return [stats.describe(runs) for runs in found]


def _both(
    name: str, call: Callable[[], object], first: float, profiler: Any, settings: _Settings
) -> SignatureTimes:
    """Time a signature as a whole and its operators, in turns, since the machine's state drifts."""
    from edgecut.profilers.litert_capi import ProfilerError

    events: list[Any] = []
    try:
        index = {name: i for i, name in enumerate(profiler.signatures())}
        run = profiler.prepare(index.get(name, 0))
        run()
    except ProfilerError as error:
        note = f"operators were not timed: {error}"
        return SignatureTimes(name, _in_turns([call], settings)[0], first, note=note)
    whole, profiled = _in_turns([call, lambda: events.append(run())], settings)
    events = events[-(profiled.runs + profiled.outliers) :]
    names = [(e.name, e.delegated, e.node) for e in events[0]]
    same = [e for e in events if [(x.name, x.delegated, x.node) for x in e] == names]
    found = _number_partitions(names, [stats.ticks([e.seconds for e in one]) for one in zip(*same)])
    return SignatureTimes(name, whole, first, _looped(found, whole.median_s), profiled.median_s)


def _looped(operators: tuple[OperatorTime, ...], whole: float) -> tuple[OperatorTime, ...]:
    """Give loops what the other operators leave of the whole.

    All that a loop runs is timed too, by which it takes many times as long as without the profiler.
    """
    inside = sum(o.seconds for o in operators if o.name == LOOP)
    if not inside:
        return operators
    left = max(whole - sum(o.seconds for o in operators if o.name != LOOP), 0.0)
    return tuple(
        dataclasses.replace(o, seconds=o.seconds * left / inside) if o.name == LOOP else o for o in operators
    )


def _number_partitions(names: list[tuple[str, bool, int]], means: list[float]) -> tuple[OperatorTime, ...]:
    """XNNPACK numbers its nodes from 0 in every partition; a fall in the numbers begins a new one."""
    found: list[OperatorTime] = []
    partition, last = 0, -1
    for (name, delegated, node), mean in zip(names, means):
        partition += (delegated and node <= last) or (not delegated and last >= 0)
        last = node if delegated else -1
        found.append(OperatorTime(name, mean, delegated, node, partition))
    return tuple(found)


def _fail(message: str, code: int) -> int:
    print(f"edgecut profile: {message}", file=sys.stderr)
    return code


def run() -> None:
    """The program: `main`, then the process ends without waiting for LiteRT's threads."""
    code = main()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
