"""``boundary``: what each way of sending each tensor that may cross costs, and what it damages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import annotations, encoding, extract
from edgecut.ir.annotations import Coder, Coding, Divided, Encoding, Encodings, Profile
from edgecut.ir.encoding import Spec
from edgecut.ir.errors import EdgecutError, ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.boundary import activations, sensitivity, statistics
from edgecut.passes.boundary import candidate as trial
from edgecut.passes.boundary.activations import Place
from edgecut.passes.boundary.candidate import Candidate, Speeds, Suffix
from edgecut.passes.numerics import Runner

Array = NDArray[Any]

STEPS = (0.25, 0.5, 0.75, 1.0, 1.5)
PLAIN = ("float16", "int8", "int8{axis=channel}", "int4", "int8{coder=rans}")
HOPELESS = 0.75
"""Coarser steps are not tried once fewer answers than this agree."""
REFERENCE = "x86-vm"
"""Whose figures this machine is taken to have, where a device is predicted."""
UNKNOWN_SPEED = 4.0
"""Times longer that a device takes of which nothing is known."""


@dataclass(frozen=True)
class Boundary(Pass):
    """Fits coders to the tensors that may cross, and measures their bytes, damage and time."""

    name: ClassVar[str] = "boundary"
    cacheable: ClassVar[bool] = True
    version: ClassVar[int] = 4

    calibration: Path | None = option(None, help="data: half to fit to, half to measure on", file=True)
    encodings: tuple[str, ...] = option((), help="try these only, such as [int8,klt-dct{step=0.5}]")
    values: tuple[str, ...] = option((), help="look at these crossing tensors only")
    samples: int = option(64, help="samples to use at most, from both halves together")
    probes: int = option(
        sensitivity.PROBES, help="runs by which the answer's sensitivity to each channel is measured; 0: none"
    )
    edge: str | None = option(None, help="device whose speed counts, if not the profile's")
    cloud: str | None = option(None, help="server whose speed counts, if not the profile's")

    def files(self) -> list[Path]:
        """The data, and the user's target files."""
        own = [Path(name) for name in (self.edge, self.cloud) if name and name.endswith((".toml", ".json"))]
        return [*super().files(), *own]

    def check_before(self, program: Program) -> None:
        """The program must be profiled: only cuts between fusion groups matter."""
        annotations.require(program.model, Profile, "run the profile pass first")
        for text in self.encodings:
            encoding.parse(text)
        if self.samples < 8:
            raise UsageError("needs at least 8 samples", where="boundary{samples}")
        if self.probes < 0:
            raise UsageError("cannot be negative", where="boundary{probes}")
        if self.calibration is None:
            raise UsageError("needs calibration data", where="boundary", hint="--calibration DATA")

    def run(self, program: Program, context: Context) -> Program:
        """Annotate crossing values with `Encodings` and `Coding`.

        Raises:
            ModelError: The data do not fit the model, or there are too few.
        """
        samples, labels = self._data(program)
        chosen = self._places(program)
        speeds = self._speeds(program)
        tensors = found = 0
        with context.progress.task("measuring encodings", len(chosen)) as advance:
            half = (len(samples) + 1) // 2
            for seen in activations.walk(program, chosen, samples):
                _, cloud = extract.split(program, seen.place.cut)
                assert cloud is not None, "a value that crosses is read"
                suffix = Suffix(Runner(cloud), seen.feeds[half:], labels)
                for name in seen.place.made:
                    candidate = seen.divided(name, half)
                    axis = statistics.channel_axis(program, name)
                    coding = statistics.of_value(candidate.real(candidate.fit), axis)
                    coding = sensitivity.weigh(coding, candidate, cloud, seen.feeds[:half], self.probes)
                    table, coders = self._table(candidate, coding, suffix, speeds)
                    value = program.value(name)
                    annotations.put(value, Encodings(tuple(table), len(candidate.report)))
                    annotations.put(value, replace(coding, coders=coders))
                    tensors, found = tensors + 1, found + len(table)
                advance()
        context.metrics["tensors"] = float(tensors)
        context.metrics["encodings"] = float(found)
        return program

    def _data(self, program: Program) -> tuple[list[dict[str, Array]], list[int] | None]:
        """Samples, first those to fit to, then those to report on; and the labels of the latter."""
        from edgecut.frontends import data

        assert self.calibration is not None
        dataset = data.load(self.calibration, program.inputs)
        if len(dataset) < 8:
            what = f"holds {len(dataset)} samples, too few to fit coders and to judge them"
            raise ModelError(what, where=str(self.calibration), hint="at least 8, better 100")
        chosen = np.linspace(0, len(dataset) - 1, min(self.samples, len(dataset))).astype(int)
        wanted = {int(i): k for k, i in enumerate(chosen)}
        found = {i: sample for i, sample in enumerate(dataset) if i in wanted}
        order = [*chosen[::2].tolist(), *chosen[1::2].tolist()]
        labels = None if dataset.labels is None else [int(dataset.labels[i]) for i in chosen[1::2]]
        annotations.put(program.model, Divided(len(dataset), tuple(chosen[1::2].tolist())))
        return [found[i] for i in order], labels

    def _places(self, program: Program) -> list[Place]:
        if not self.values:
            return activations.worthwhile(program)
        known = activations.places(program)
        makers = {name: place for place in known for name in place.made}
        missing = [name for name in self.values if name not in makers]
        if missing:
            hint = f"such tensors: {', '.join(list(makers)[:8])}"
            raise UsageError(f"no cut sends {missing[0]!r}", where="boundary{values}", hint=hint)
        wanted = ((place.cut, tuple(n for n in place.made if n in self.values)) for place in known)
        return [Place(cut, made) for cut, made in wanted if made]

    def _table(
        self, candidate: Candidate, coding: Coding, suffix: Suffix, speeds: Speeds
    ) -> tuple[list[Encoding], dict[str, Coder]]:
        size = candidate.report[0].nbytes
        scored = any(a.ndim == 2 and a.shape[1] > 1 for a in suffix.expected[0].values())
        table = [Encoding(candidate.dtype, size, size, 1.0 if scored else None, accuracy=suffix.accuracy)]
        coders = {}
        for tried in self._tries(candidate, coding):
            figures = trial.measure(tried, suffix, candidate.name, speeds)
            table.append(figures)
            coders[figures.name] = tried.coder
            if figures.agreement is not None and figures.agreement < HOPELESS and not self.encodings:
                break
        return table, coders

    def _tries(self, candidate: Candidate, coding: Coding) -> Iterator[trial.Tried]:
        """Encodings one after the other; of the transforms the one that takes the fewest bytes."""
        specs = [encoding.parse(text) for text in self.encodings or PLAIN]
        for spec in specs:
            if trial.usable(spec, candidate, coding):
                yield trial.attempt(candidate, coding, spec)
        if self.encodings:
            return
        kinds = [k for k in encoding.TRANSFORMS if trial.usable(_at(k, 0.5), candidate, coding)]
        if not kinds:
            return
        sizes = {k: np.mean(trial.attempt(candidate, coding, _at(k, 0.5)).sizes) for k in kinds}
        best = min(kinds, key=lambda k: sizes[k])
        for step in STEPS:
            yield trial.attempt(candidate, coding, _at(best, step))

    def _speeds(self, program: Program) -> Speeds:
        profile = annotations.require(program.model, Profile, "run the profile pass first")
        return Speeds(_slowness(self.edge or profile.edge), _slowness(self.cloud or profile.cloud))


def _at(kind: str, step: float) -> Spec:
    return Spec(kind, step, coder="rans")


def _slowness(name: str) -> float:
    """How many times longer than here NumPy takes on a device.

    An operator's fixed cost is mostly the interpreter and memory, as coding is; so its ratio stands for it.
    """
    from edgecut.targets.spec import load_device

    try:
        device = load_device(name)
    except EdgecutError:
        return UNKNOWN_SPEED
    if device.is_local:
        return 1.0
    here = load_device(REFERENCE).compute
    if device.compute is None or here is None:
        return UNKNOWN_SPEED
    return max(device.compute.op_us / here.op_us, 1.0)
