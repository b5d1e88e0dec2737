"""Compares what a build computes, at each of its cuts, with the model that was imported."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from edgecut.ir import manifest, sessions
from edgecut.ir.errors import ModelError
from edgecut.ir.manifest import CutRecord, Manifest, Sent, Together
from edgecut.runtime import serving
from edgecut.runtime.device import Device

REFERENCE = "reference.onnx"
_CHANGING = ("prune", "finetune", "sparsify")
"""Passes after which a float build is not what was imported."""
_DEVIATIONS = 2.0
"""Of chance that are granted between what a build measured and what is measured again."""


@dataclass(frozen=True)
class Limits:
    """What a cut may differ by; None applies the build's own kind of limit.

    A build that was neither quantized nor pruned computes the same numbers but for rounding, so it is
    held to an error. One that was, or a cut that rounds what it sends, is held to its answers.
    """

    max_error: Optional[float] = None
    """Largest error relative to the largest reference value; by default 1e-4 for exact builds."""
    min_agreement: Optional[float] = None
    """Share of equal top-1 answers; by default 0.97 for inexact builds without labels, or what the build
    measured of a cut's encodings where that is less, less what chance does."""
    max_accuracy_drop: Optional[float] = None
    """Percentage points; by default 1 for inexact builds with labels, or likewise."""


@dataclass(frozen=True)
class CutReport:
    """How one cut compares over all samples."""

    cut: str
    samples: int
    max_abs_error: float
    max_rel_error: float
    """Largest difference of an output, divided by that output's largest reference value."""
    split_error: Optional[float]
    """Likewise, against the same build run whole on one side (None: the build holds no such cut)."""
    agreement: Optional[float]
    """Share of samples with the same top-1 (None: no output is a row of scores)."""
    accuracy: Optional[float]
    reference_accuracy: Optional[float]
    sent_bytes: float
    """Mean bytes of a request's body."""
    failure: Optional[str] = None
    """Which limit is exceeded."""


@dataclass
class _Difference:
    """Largest difference of each output between two runs."""

    largest: dict[str, float] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)

    def add(self, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
        for name, array in expected.items():
            error, scale = _error(found[name], array)
            self.largest[name] = max(self.largest.get(name, 0.0), error)
            self.scale[name] = max(self.scale.get(name, 0.0), scale)

    def absolute(self) -> float:
        return max(self.largest.values(), default=0.0)

    def relative(self) -> float:
        shares = ((self.largest[n], self.scale[n]) for n in self.largest)
        return max((e / s if s else e for e, s in shares), default=0.0)


@dataclass
class _Tally:
    """What is counted for one cut."""

    to_reference: _Difference = field(default_factory=_Difference)
    to_whole: _Difference = field(default_factory=_Difference)
    same: int = 0
    right: int = 0
    sent: int = 0


def compare(
    build: Path,
    samples: Iterable[Mapping[str, np.ndarray]],
    labels: Union[Sequence[int], np.ndarray, None] = None,
    *,
    cuts: Sequence[str] = (),
    server: Optional[str] = None,
    limits: Limits = Limits(),
    advance: Callable[[], None] = lambda: None,
) -> list[CutReport]:
    """Run cuts of a build on real inputs, over real HTTP, beside the imported model in ONNX Runtime.

    Args:
        build: The build folder.
        samples: Inputs of the model, each in the manifest's shapes and types.
        labels: Class of each sample.
        cuts: Names of the cuts; empty for all.
        server: URL of a server that holds the cloud half; None starts one for the time of the check.
        limits: What counts as a failure.
        advance: Called after each sample.

    Raises:
        ModelError: The build is damaged, holds no such cut, or a sample does not fit; or there are none.
        TargetError: The server cannot be reached.
    """
    described = manifest.read(build)
    records = [described.cut(name) for name in cuts] or list(described.cuts)
    reference = _Reference(build / REFERENCE)
    tallies = {record.name: _Tally() for record in records}
    scores = _scores_output(described)
    count = reference_right = 0
    with contextlib.ExitStack() as stack:
        url = server or stack.enter_context(_own_server(build, described))
        device = stack.enter_context(contextlib.closing(Device(build, server=url)))
        for inputs in samples:
            expected = reference.run(inputs, [t.name for t in described.outputs])
            label = None if labels is None else int(labels[count])
            found = _run_all(device, described, records, inputs)
            for record in records:
                _count(tallies[record.name], found, record.name, expected, scores, label)
            reference_right += int(scores is not None and label == _top(expected[scores]))
            count += 1
            advance()
    if not count:
        raise ModelError("holds no samples", where="the data", hint="give --data with at least one")
    whole = _whole(described)
    make = _Reporter(described, limits, count, scores is not None, labels is not None, reference_right)
    return [make.report(r.name, tallies[r.name], None if r is whole else whole) for r in records]


def classes(described: Manifest) -> Optional[int]:
    """Number of classes of the model; None where no output is a row of class scores."""
    scores = _scores_output(described)
    return next((t.shape[1] for t in described.outputs if t.name == scores), None)


class _Reference:
    """The imported model in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        import onnxruntime as ort

        options = sessions.options()
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
            raise ModelError(f"ONNX Runtime does not load it: {error}", where=str(path)) from error

    def run(self, inputs: Mapping[str, np.ndarray], outputs: list[str]) -> dict[str, np.ndarray]:
        return dict(zip(outputs, self._session.run(outputs, dict(inputs))))


@dataclass(frozen=True)
class _Reporter:
    described: Manifest
    limits: Limits
    count: int
    has_scores: bool
    has_labels: bool
    reference_right: int

    def report(self, cut: str, tally: _Tally, whole: Optional[CutRecord]) -> CutReport:
        graded = self.has_scores and self.has_labels
        draft = CutReport(
            cut=cut,
            samples=self.count,
            max_abs_error=tally.to_reference.absolute(),
            max_rel_error=tally.to_reference.relative(),
            split_error=tally.to_whole.relative() if whole else None,
            agreement=tally.same / self.count if self.has_scores else None,
            accuracy=tally.right / self.count if graded else None,
            reference_accuracy=self.reference_right / self.count if graded else None,
            sent_bytes=tally.sent / self.count,
        )
        return CutReport(**{**draft.__dict__, "failure": self._failure(draft)})

    def _failure(self, found: CutReport) -> Optional[str]:
        limits = self._applied(found.cut, found.samples)
        if limits.max_error is not None and not found.max_rel_error <= limits.max_error:
            return f"relative error {found.max_rel_error:.3g} is over {limits.max_error:g}"
        if found.accuracy is not None and found.reference_accuracy is not None:
            drop = 100 * (found.reference_accuracy - found.accuracy)
            if limits.max_accuracy_drop is not None and drop > limits.max_accuracy_drop + 1e-9:
                return f"accuracy drops by {drop:.2f} points, more than {limits.max_accuracy_drop:g}"
        if limits.min_agreement is not None and (found.agreement or 0.0) < limits.min_agreement:
            share = "unknown" if found.agreement is None else f"{found.agreement:.2%}"
            return f"top-1 agreement is {share}, under {limits.min_agreement:.2%}"
        return None

    def _applied(self, cut: str, samples: int) -> Limits:
        """The limits given, with the defaults for this kind of build and cut where none of a kind is."""
        given = self.limits
        changed = any(step.text.split("{")[0] in _CHANGING for step in self.described.steps)
        lossy = any(_is_lossy(sent) for sent in self.described.cut(cut).sends)
        if self.described.quantization == "none" and not changed and not lossy:
            return Limits(_or(given.max_error, 1e-4), given.min_agreement, given.max_accuracy_drop)
        if not self.has_scores:
            return given
        lost, dropped = _planned(self.described.cut(cut).together, samples)
        if self.has_labels:
            drop = _or(given.max_accuracy_drop, max(1.0, 100 * dropped))
            return Limits(given.max_error, given.min_agreement, drop)
        share = _or(given.min_agreement, min(0.97, 1 - lost))
        return Limits(given.max_error, share, given.max_accuracy_drop)


def _planned(measured: Optional[Together], samples: int) -> tuple[float, float]:
    """What the encodings of a cut may do on so many samples: share of other answers, drop of accuracy.

    That is what the build measured on samples of its own, and what chance may add to the difference.
    """
    if measured is None or measured.agreement is None:
        return 0.0, 0.0
    other = (measured.samples * (1 - measured.agreement) + 1) / (measured.samples + 2)  # Laplace's rule
    chance = _DEVIATIONS * (other * (1 - other) * (1 / measured.samples + 1 / samples)) ** 0.5
    dropped = 0.0
    if measured.accuracy is not None and measured.accuracy_held is not None:
        dropped = measured.accuracy_held - measured.accuracy
    return 1 - measured.agreement + chance, dropped + chance if dropped > 0 else 0.0


def _is_lossy(sent: Sent) -> bool:
    """Whether a crossing tensor is rounded on its way, beyond what the models themselves do."""
    coding = sent.coding
    return coding is not None and (coding.rounding is not None or coding.encoding.startswith("float16"))


def _own_server(build: Path, described: Manifest) -> contextlib.AbstractContextManager[str]:
    if any(cut.cloud_model for cut in described.cuts):
        return serving.background([build])
    return contextlib.nullcontext("http://127.0.0.1:9")  # never asked: no cut has a cloud half


def _run_all(
    device: Device, described: Manifest, records: list[CutRecord], inputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    whole = _whole(described)
    wanted = {r.name: r for r in (*records, *([whole] if whole else []))}
    return {name: device.attempt(inputs, name) for name in wanted}


def _whole(described: Manifest) -> Optional[CutRecord]:
    """The cut that runs everything on one side: the edge if it can, else the cloud."""
    names = {cut.name: cut for cut in described.cuts}
    return names.get("edge-only") or names.get("cloud-only")


def _count(
    tally: _Tally,
    found: Mapping[str, Any],
    cut: str,
    expected: Mapping[str, np.ndarray],
    scores: Optional[str],
    label: Optional[int],
) -> None:
    outputs = found[cut].outputs
    tally.to_reference.add(outputs, expected)
    tally.sent += found[cut].sent_bytes
    whole = found.get("edge-only") or found.get("cloud-only")
    if whole is not None:
        tally.to_whole.add(outputs, whole.outputs)
    if scores is not None:
        top = _top(outputs[scores])
        tally.same += int(top == _top(expected[scores]))
        tally.right += int(top == label)


def _scores_output(described: Manifest) -> Optional[str]:
    """The first output that is one row of class scores."""
    rows = (t.name for t in described.outputs if len(t.shape) == 2 and t.shape[0] == 1 and t.shape[1] > 1)
    return next(rows, None)


def _top(scores: np.ndarray) -> int:
    return int(np.argmax(scores))


def _error(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest difference, and largest finite magnitude; equal NaN and infinities do not differ."""
    if found.size == 0:
        return 0.0, 0.0
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    difference = np.where(np.isnan(difference), np.inf, difference)
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return float(difference.max()), float(scale)


def _or(given: Optional[float], default: float) -> float:
    return default if given is None else given
