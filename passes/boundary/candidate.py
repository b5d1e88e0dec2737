"""One value that may cross, its activations on calibration data, and what encodings do to it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecut.ir import encoding, transform
from edgecut.ir.annotations import Coder, Coding, Encoding
from edgecut.ir.encoding import Spec
from edgecut.ir.errors import ModelError
from edgecut.ir.transform import Transform
from edgecut.passes.boundary import tables as fitting
from edgecut.passes.numerics import Difference, Runner
from edgecut.runtime.boundary import rounded
from edgecut.runtime.stream import Stream
from edgecut.runtime.tables import Tables

Array = NDArray[Any]

TIMED = 5
"""Samples that coding is timed on; the fastest counts."""


@dataclass(frozen=True)
class Speeds:
    """How many times longer than here coding takes on either side."""

    edge: float = 1.0
    cloud: float = 1.0


@dataclass
class Candidate:
    """A value that may cross.

    Attributes:
        name: Its name.
        shape: Its shape, the batch first.
        dtype: NumPy name of its type.
        grid: Scale and zero point, where it is quantized.
        fit: Its values on the samples that coders are fitted to, ``[samples, ...]``.
        report: Its values on those that figures are of.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    grid: tuple[float, int] | None
    fit: Array
    report: Array

    def real(self, values: Array) -> NDArray[np.float32]:
        """The numbers that held values stand for."""
        if self.grid is None:
            return values.astype(np.float32)
        scale, zero = self.grid
        return ((values.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)

    def held(self, real: NDArray[np.float32]) -> Array:
        """The inverse of `real`."""
        if self.grid is None:
            return real
        scale, zero = self.grid
        limits = np.iinfo(self.dtype)
        steps = np.rint(real / np.float32(scale)) + zero
        return np.asarray(np.clip(steps, limits.min, limits.max), self.dtype)


@dataclass(frozen=True)
class Tried:
    """An encoding of a candidate: its coder, and what came out of it on the report samples."""

    spec: Spec
    coder: Coder
    sizes: list[int]
    values: Array
    """The candidate's values as the cloud half gets them."""
    encode_s: float
    decode_s: float


def usable(spec: Spec, candidate: Candidate, coding: Coding) -> bool:
    """Whether an encoding is possible for a value, and means something."""
    if spec.kind == candidate.dtype:
        return spec.coder in ("zlib", "lzma") or (spec.coder == "rans" and candidate.dtype == "int8")
    kinds = {
        "float32": (*encoding.TRANSFORMS, *encoding.INTEGERS, "float16"),
        "int8": (*encoding.TRANSFORMS, "int4") if candidate.grid else (),
    }
    if spec.kind not in kinds.get(candidate.dtype, ()) or (spec.kind == "float16" and spec.coder == "rans"):
        return False
    spatial = [d for a, d in enumerate(candidate.shape) if a not in (0, coding.channel)]
    if spec.dct and (max(spatial, default=1) < 4 or len(candidate.shape) not in (3, 4)):
        return False
    return bool(coding.basis) or not spec.klt


def attempt(candidate: Candidate, coding: Coding, spec: Spec) -> Tried:
    """Fit a coder, and code the report samples with it.

    Raises:
        ModelError: The coder does not give back what it was given: a fault of ours.
    """
    if spec.kind == candidate.dtype:
        return _coded(spec, candidate, candidate.fit, candidate.report, lambda q: q)
    if spec.kind == "float16":
        halves = candidate.report.astype(np.float16)
        return _coded(spec, candidate, None, halves, lambda q: q.astype(np.float32))
    form = transform.make(spec, coding, candidate.shape)
    made = [form.forward(candidate.real(part)) for part in (candidate.fit, candidate.report)]
    low, high = _limits(spec, made[0])
    fit, report = (rounded(y, form.rounding, low, high) for y in made)

    def back(coded: Array) -> Array:
        return candidate.held(form.backward(coded.astype(np.float32)))

    tried = _coded(spec, candidate, fit, report, back, (low, high))
    before, after = _linear_seconds(form, candidate.real(candidate.report[:1]))
    return replace(tried, encode_s=tried.encode_s + before, decode_s=tried.decode_s + after)


class Suffix:
    """The cloud half at one place, and its outputs with everything that crosses as it is.

    Args:
        runner: The cloud half.
        feeds: What crosses, for each report sample.
        labels: Classes of the report samples.
    """

    def __init__(
        self, runner: Runner, feeds: Sequence[dict[str, Array]], labels: Sequence[int] | None
    ) -> None:
        self._runner, self._feeds, self.labels = runner, feeds, labels
        self.expected = [runner(feed) for feed in feeds]

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None without labels."""
        if self.labels is None:
            return None
        return float(np.mean([top(e) == k for e, k in zip(self.expected, self.labels, strict=True)]))

    def outputs(self, name: str, values: Array) -> Iterator[dict[str, Array]]:
        """The outputs for each report sample with one tensor replaced, the others as they are."""
        for i, feed in enumerate(self._feeds):
            yield self._runner({**feed, name: values[i : i + 1]})


def measure(tried: Tried, suffix: Suffix, name: str, speeds: Speeds) -> Encoding:
    """Run the rest of the model on what an encoding gives.

    Args:
        tried: The encoding.
        suffix: The cloud half.
        name: Its input that is encoded.
        speeds: Of both sides.
    """
    difference, right, labels = Difference(), 0, suffix.labels
    for i, found in enumerate(suffix.outputs(name, tried.values)):
        difference.add(suffix.expected[i], found)
        right += labels is not None and top(found) == labels[i]
    agreement = difference.agreement
    return Encoding(
        name=str(tried.spec),
        mean_bytes=round(float(np.mean(tried.sizes))),
        p95_bytes=round(float(np.percentile(tried.sizes, 95))),
        agreement=None if agreement is None else round(agreement, 4),
        sqnr_db=round(difference.sqnr_db, 3),
        accuracy=None if labels is None else round(right / len(suffix.expected), 4),
        encode_s=tried.encode_s * speeds.edge,
        decode_s=tried.decode_s * speeds.cloud,
    )


def top(outputs: dict[str, Array]) -> int:
    """The class of the highest score; -1 without scores."""
    scores = next((a for a in outputs.values() if a.ndim == 2 and a.shape[1] > 1), None)
    return -1 if scores is None else int(scores[0].argmax())


def _limits(spec: Spec, fitted: NDArray[np.float32]) -> tuple[int, int]:
    if spec.kind in encoding.INTEGERS:
        return transform.limits(spec)
    # One and a half times what was seen, and then bytes where these hold it.
    reach = 1.5 * float(np.abs(fitted).max(initial=0)) + 2
    return (-127, 127) if reach < 127 else (-32767, 32767)


def _coded(
    spec: Spec,
    candidate: Candidate,
    fit: Array | None,
    report: Array,
    back: Callable[[Array], Array],
    limits: tuple[int, int] = (0, 0),
) -> Tried:
    if spec.coder == "none":
        return Tried(spec, Coder(*limits), [report[0].nbytes] * len(report), back(report), 0.0, 0.0)
    text = ""
    if spec.coder == "rans":
        assert fit is not None
        text = fitting.fit(fit.reshape(len(fit), -1).astype(np.int32)).text()
    stream = Stream(spec.coder, report.dtype.name, report.shape[1:], Tables.parse(text) if text else None)
    sizes, encode, decode = [], [], []
    for i, sample in enumerate(report):
        start = time.perf_counter()
        data = stream.encode(sample)
        encoded = time.perf_counter()
        sizes.append(len(data))
        if i >= TIMED:
            continue
        found = stream.decode(data).values
        encode.append(encoded - start)
        decode.append(time.perf_counter() - encoded)
        if not np.array_equal(found, sample):
            raise ModelError(f"the coder of {spec} is not lossless", where=candidate.name)
    return Tried(spec, Coder(*limits, text), sizes, back(report), min(encode), min(decode))


def _linear_seconds(form: Transform, sample: NDArray[np.float32]) -> tuple[float, float]:
    """Seconds of the linear parts of one sample: as NumPy takes, which the kernels do not exceed."""
    found: list[tuple[float, float]] = []
    for _ in range(TIMED):
        start = time.perf_counter()
        coded = form.forward(sample)
        rounded(coded, form.rounding, -127, 127)
        between = time.perf_counter()
        form.backward(coded)
        found.append((between - start, time.perf_counter() - between))
    return min(f[0] for f in found), min(f[1] for f in found)
