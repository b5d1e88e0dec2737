"""Profile-guided correction: candidate cuts are built and timed, and the plan is made of what they took.

A sum of operator times is a model of a whole prefix or suffix. So the candidates are measured; then every
other cut whose corrected prediction is below the best measured one is measured too, until there is none:
by then no measurement changes which cut comes first.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgecut.ir import extract, files
from edgecut.ir.annotations import Cut, Side
from edgecut.ir.errors import TargetError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.partition import codings
from edgecut.passes.partition.enumerate import placements
from edgecut.passes.partition.objective import Situation
from edgecut.passes.partition.planning import Known, Posed, Request, offered
from edgecut.passes.partition.problem import Mask, Totals

ROUNDS = 5
BATCH = 4
"""At most so many rounds of so many cuts, besides the candidates."""
MOST = 20_000
"""So many cuts, each with each combination of encodings, are looked at."""


@dataclass
class Measured:
    """Cuts that have been timed, with what they add up to."""

    posed: Posed
    request: Request
    runs: int
    threads: int
    known: dict[bytes, tuple[Mask, Totals]] = field(default_factory=dict)

    def at(self, request: Request, context: Context) -> Known:
        """What is known once the candidates of a request are timed, and all that might be better.

        Only of placements within its budgets.

        Raises:
            TargetError: A device cannot be reached.
            ModelError: A runtime refuses a half.
        """
        self.request = request
        self.add((band.cloud for band in offered(self.posed, request)), context)
        self.refine(context)
        return self._kept()

    def _kept(self) -> Known:
        problem, budgets = self.posed.problem, self.request.budgets
        return {
            key: (cloud, totals)
            for key, (cloud, totals) in self.known.items()
            if all(budget.holds(problem, cloud) for budget in budgets)
        }

    def add(self, clouds: Iterable[Mask], context: Context) -> None:
        """Time some placements, each once.

        Raises:
            TargetError: A device cannot be reached.
            ModelError: A runtime refuses a half.
        """
        new = {cloud.tobytes(): cloud for cloud in clouds if cloud.tobytes() not in self.known}
        # What coding takes is known from the pass boundary, and added to what the halves take without it.
        problem = self.posed.problem
        cuts = [self.posed.cut(problem.sides(cloud)) for cloud in new.values()]
        at, program = self.request.situation, self.posed.program
        with context.progress.task("measuring cuts", 2) as advance:
            edge = _edge(program, cuts, at, self.threads, self.runs)
            advance()
            cloud_s = _cloud(program, cuts, at, self.threads, self.runs)
            advance()
        for i, (key, cloud) in enumerate(new.items()):
            predicted, used = problem.totals(cloud), problem.coded(cloud)
            # The load is priced on top of the server's time, and is not part of it here.
            coding = float(problem.codings.encode_s[used].sum()), float(problem.codings.decode_s[used].sum())
            edge_s = edge[i] + coding[0] if i in edge else predicted.edge_s
            there_s = cloud_s[i] + coding[1] if i in cloud_s else predicted.cloud_s
            self.known[key] = cloud, replace(predicted, edge_s=edge_s, cloud_s=there_s)

    def refine(self, context: Context) -> None:
        """Time cuts until none is left that would be better than the best that was timed.

        Predictions are corrected by how much longer than predicted either side has taken so far.
        """
        budgets, problem = self.request.budgets, self.posed.problem
        every = (way for sides in placements(problem)[0] for way in codings.every(problem, sides))
        found = itertools.islice(every, MOST)
        rest = [cloud for cloud in found if all(budget.holds(problem, cloud) for budget in budgets)]
        for _ in range(ROUNDS):
            best = min(self.request.price(totals) for _, totals in self._kept().values())
            unknown = [cloud for cloud in rest if cloud.tobytes() not in self.known]
            corrected = self._corrected()
            prices = [(self.request.price(corrected(cloud)), i) for i, cloud in enumerate(unknown)]
            better = sorted(item for item in prices if item[0] < best)[:BATCH]
            if not better:
                return
            self.add((unknown[i] for _, i in better), context)
        context.warn(f"{len(self.known)} cuts were measured; another may be better still (see --list-cuts)")

    def _corrected(self) -> Callable[[Mask], Totals]:
        """Predictions of either side, times what the measured cuts took over what was predicted of them."""
        problem = self.posed.problem
        pairs = [(problem.totals(cloud), found) for cloud, found in self.known.values()]
        edge = _ratio((before.edge_s, after.edge_s) for before, after in pairs)
        there = _ratio((before.cloud_s, after.cloud_s) for before, after in pairs)

        def totals(cloud: Mask) -> Totals:
            found = problem.totals(cloud)
            return replace(found, edge_s=edge * found.edge_s, cloud_s=there * found.cloud_s)

        return totals


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    before, after = (sum(part) for part in zip(*pairs, strict=True))
    return after / before if before > 0 else 1.0


def reachable(at: Situation) -> tuple[Side, ...]:
    """The sides that can be measured.

    Raises:
        TargetError: Neither can.
    """
    found: list[Side] = ["edge"] if at.edge is not None and at.edge.reach else []
    if at.cloud is not None and at.cloud.is_local:
        found.append("cloud")
    if not found:
        raise TargetError(
            "neither side is at hand to be measured", hint="use local, ssh:// or adb:// targets"
        )
    return tuple(found)


def _edge(program: Program, cuts: Sequence[Cut], at: Situation, threads: int, runs: int) -> dict[int, float]:
    """Seconds of the edge half of each cut, by its index; empty where the device is not at hand."""
    if at.edge is None or not at.edge.reach or not cuts:
        return {}
    from edgecut.profilers import reach
    from edgecut.targets import tflite

    emitted = tflite.emit(program, cuts)
    seconds = {i: 0.0 for i in range(len(cuts)) if i not in emitted.signatures}
    if not emitted.data:
        return seconds
    with tempfile.TemporaryDirectory(prefix="edgecut-") as folder:
        path = Path(folder) / "model.tflite"
        files.write(path, emitted.data)
        profile = reach.run(at.edge, path, reach.Settings(threads, runs), operators=False)
    timed = {signature.name: signature.whole.median_s for signature in profile.signatures}
    return {**seconds, **{i: timed[name] for i, name in emitted.signatures.items()}}


def _cloud(program: Program, cuts: Sequence[Cut], at: Situation, threads: int, runs: int) -> dict[int, float]:
    """Seconds of the cloud half of each cut, by its index; empty where the server is not at hand."""
    if at.cloud is None or not at.cloud.is_local:
        return {}
    from edgecut.profilers import onnxruntime

    halves = [extract.split(program, cut)[1] for cut in cuts]
    return {
        i: 0.0 if half is None else onnxruntime.time_whole(half, threads, runs).median_s
        for i, half in enumerate(halves)
    }
