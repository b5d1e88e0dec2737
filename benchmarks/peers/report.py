"""The tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from peers.convert import Converted
from peers.converters import EDGECUT, EDGECUT_LAST, KINDS, PEERS
from peers.measure import Key, Measured

WRONG = {"float": 1e-3, "int8": 0.5}
"""Difference, over the largest output, that counts as wrong; int8 of random weights is coarse."""
US = EDGECUT.name


def text(names: Sequence[str], made: Mapping[Key, Converted], measured: Mapping[Key, Measured]) -> str:
    """One section of Markdown."""
    parts = ["## edgecut beside other converters", _HEAD]
    for kind in KINDS:
        parts += [f"### {kind}", _latency(kind, names, made, measured), _files(kind, names, made, measured)]
    return "\n\n".join(
        [*parts, "### Whole-process conversion, s", _seconds(names, made), _summary(names, made, measured)]
    )


def _columns(kind: str, made: Mapping[Key, Converted]) -> list[str]:
    known = {c for k, _, c in made if k == kind}
    return [c for c in (US, EDGECUT_LAST.name, *(p.name for p in PEERS)) if c in known]


def usable(kind: str, found: Measured | None) -> bool:
    """Whether a file runs, and computes what the model does as far as that is known."""
    if found is None or found.failure or not found.median_ms:
        return False
    return math.isnan(found.error) or found.error <= WRONG[kind]


def own_file(kind: str, name: str, measured: Mapping[Key, Measured]) -> Measured | None:
    """Our file; channels last where there is such a one, since a peer's file is."""
    return measured.get((kind, name, EDGECUT_LAST.name)) or measured.get((kind, name, US))


def best_peer(kind: str, name: str, measured: Mapping[Key, Measured]) -> Measured | None:
    """The peer's file of the least median latency, among the usable ones."""
    found = [measured.get((kind, name, p.name)) for p in PEERS]
    return min((m for m in found if m and usable(kind, m)), key=lambda m: m.median_ms, default=None)


def _latency(
    kind: str, names: Sequence[str], made: Mapping[Key, Converted], measured: Mapping[Key, Measured]
) -> str:
    columns = _columns(kind, made)
    own_float = ["of its float"] if kind == "int8" else []
    rows = [["latency, ms", *columns, *own_float, "ratio to the best peer", "error"]]
    for name in names:
        own, best = own_file(kind, name, measured), best_peer(kind, name, measured)
        ratio = f"{own.median_ms / best.median_ms:.2f}" if own and best and usable(kind, own) else "-"
        cells = [_cell(kind, made.get((kind, name, c)), measured.get((kind, name, c))) for c in columns]
        error = f"{own.error:.1e}" if own and not math.isnan(own.error) else "-"
        rows.append([name, *cells, *[_of_float(name, measured)][: len(own_float)], ratio, error])
    return _table(rows)


def _of_float(name: str, measured: Mapping[Key, Measured]) -> str:
    """Latency of our int8 file over that of our float one, both in the model's own layout."""
    whole, small = (measured.get((kind, name, US)) for kind in KINDS)
    return f"{small.median_ms / whole.median_ms:.2f}" if whole and small and whole.median_ms else "-"


def _cell(kind: str, made: Converted | None, found: Measured | None) -> str:
    if made is None:
        return ""
    if found is None:
        return "fails"
    if found.failure or not found.median_ms:
        return "does not run"
    number = f"{found.median_ms:.3g} ({found.least_ms:.3g})"
    return number if usable(kind, found) else f"wrong: {number}"


def _files(
    kind: str, names: Sequence[str], made: Mapping[Key, Converted], measured: Mapping[Key, Measured]
) -> str:
    columns = _columns(kind, made)
    rows = [["KB; operators (TRANSPOSE, RESHAPE)", *columns]]
    for name in names:
        found = [measured.get((kind, name, c)) for c in columns]
        rows.append([name, *(_shape(m) for m in found)])
    return _table(rows)


def _shape(found: Measured | None) -> str:
    if found is None:
        return ""
    return f"{found.bytes / 1e3:.0f}; {found.operators} ({found.moves[0]}, {found.moves[1]})"


def _seconds(names: Sequence[str], made: Mapping[Key, Converted]) -> str:
    columns = [c for c in _columns("float", made) if c != EDGECUT_LAST.name]
    rows = [["float", *columns, "fastest peer / edgecut"]]
    for name in names:
        times = {c: d.seconds for c in columns if (d := made.get(("float", name, c))) and d.file}
        peers = [s for c, s in times.items() if c not in (US, EDGECUT_LAST.name)]
        ratio = f"{min(peers) / times[US]:.1f}" if peers and US in times else "-"
        rows.append([name, *(f"{times[c]:.2f}" if c in times else "" for c in columns), ratio])
    return _table(rows)


def _summary(names: Sequence[str], made: Mapping[Key, Converted], measured: Mapping[Key, Measured]) -> str:
    lines = []
    for kind in KINDS:
        pairs = [(own_file(kind, n, measured), best_peer(kind, n, measured)) for n in names]
        ratios = [o.median_ms / b.median_ms for o, b in pairs if o and b and usable(kind, o)]
        tried = [any((kind, n, p.name) in made for p in PEERS) for n in names]
        alone = sum(usable(kind, o) and b is None and t for (o, b), t in zip(pairs, tried, strict=True))
        if ratios:
            mean, reached = statistics.geometric_mean(ratios), sum(round(r, 2) <= 1.0 for r in ratios)
            near = sum(round(r, 2) <= 1.05 for r in ratios)
            lines.append(
                f"{kind}: latency over the best peer's, geometric mean {mean:.2f}, worst {max(ratios):.2f}; "
                f"at most 1.00 on {reached} of {len(ratios)} networks, at most 1.05 on {near}. "
                f"{alone} more run of which no peer's file tried here does; {tried.count(False)} were tried "
                "with no peer."
            )
            lines += _missed(kind, names, measured)
    lines += _not_faster(names, measured)
    return "\n\n".join(lines)


def _missed(kind: str, names: Sequence[str], measured: Mapping[Key, Measured]) -> list[str]:
    """Where the best peer's file is faster, and where the smallest usable one is smaller."""
    slower, larger = [], []
    for name in names:
        own, best = own_file(kind, name, measured), best_peer(kind, name, measured)
        if own is None or best is None or not usable(kind, own):
            continue
        ratio = own.median_ms / best.median_ms
        if round(ratio, 2) > 1.0:
            gap = own.median_ms - best.median_ms
            within = gap < max(m.median_ms - m.least_ms for m in (own, best))
            slower.append(f"{name} ({ratio:.2f}{', within the spread' if within else ''})")
        others = [m for p in PEERS if usable(kind, m := measured.get((kind, name, p.name))) and m]
        least = min(m.bytes for m in others)
        if own.bytes > least:
            larger.append(f"{name} ({own.bytes / 1e3:.0f} against {least / 1e3:.0f} KB)")
    return [
        f"{kind}, {what} than a peer's file that runs: {', '.join(found)}."
        for what, found in (("slower", slower), ("larger", larger))
        if found
    ]


def _not_faster(names: Sequence[str], measured: Mapping[Key, Measured]) -> list[str]:
    """Where our int8 file takes as long as our float one, or longer."""
    pairs = {n: tuple(measured.get((kind, n, US)) for kind in KINDS) for n in names}
    both = {n: small.median_ms / whole.median_ms for n, (whole, small) in pairs.items() if whole and small}
    found = [f"{n} ({ratio:.2f})" for n, ratio in both.items() if round(ratio, 2) >= 1.0]
    return [f"int8 over float of edgecut, not below 1: {', '.join(found) or 'none'}."] if both else []


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


_HEAD = """\
Generated networks (`fixtures/networks`) through edgecut and its peers, each in its own environment
(`benchmarks/peers/setup.sh`). Latency is LiteRT's on one thread (its processor time): the median of
interleaved rounds, in brackets the least. *error* is edgecut's largest difference from ONNX Runtime on the
float model, over the largest output. A peer's file that differs by more than 1e-3 (int8: by half the largest
output) is marked wrong, and no best. edgecut keeps the model's own order of dimensions at inputs and outputs;
onnx2tf gives them channels last, and so needs no TRANSPOSE there: *edgecut, NHWC* is the same model with its
images channels last, and what the ratio is of. *of its float* is edgecut's int8 file over its float one.
int8 is calibrated with the same eight samples everywhere; edgecut's is converted for this machine
(`--edge local`), so that kernels which its profile finds no faster on integers stay in float; litert-torch's
float file is quantized by ai-edge-quantizer, and takes and gives integers, while edgecut's converts the
floats that it takes and gives. Where one is called slower within the spread, the medians are
nearer to each other than one of them is to its own least. Conversion is the whole process, of edgecut the
best of three runs; onnx2tf 2 was run beside it, the others once, before, on a busy machine: their seconds are
upper bounds. Cells that are empty were not tried."""
