"""Answers and reports as text for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecut.ir import typed

if TYPE_CHECKING:
    from edgecut.runtime.compare import CutReport
    from edgecut.runtime.device import Answer

_SHOWN = 10
_TOP = 5


def as_json(answer: Answer) -> str:
    """Everything about an answer; NaN and infinities, which JSON lacks, become null."""
    outputs = {
        name: {"shape": list(a.shape), "dtype": a.dtype.name, "data": _plain(a)}
        for name, a in answer.outputs.items()
    }
    traffic = {"sent_bytes": answer.sent_bytes, "received_bytes": answer.received_bytes}
    how = {"cut": answer.cut, "fallback": answer.fallback, "sent_part": answer.sent_part}
    return typed.dumps({**how, "outputs": outputs, "phases": answer.phases, **traffic})


def as_text(answer: Answer) -> str:
    """The outputs in short, and where the time went."""
    lines = [f"{name}  {a.dtype.name}{list(a.shape)}  {_summary(a)}" for name, a in answer.outputs.items()]
    p = answer.phases
    there = (("edge", p.edge_s), ("encode", p.encode_s), ("network", p.network_s))
    parts = (*there, ("queue", p.queue_s), ("cloud", p.compute_s))
    times = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in parts if seconds)
    lines.append(f"cut {answer.cut}: {1e3 * p.total_s:.2f} ms ({times}); sent {answer.sent_bytes} bytes")
    if answer.sent_part < 1:
        lines.append(f"in part: there was time for {answer.sent_part:.0%} of what was to be sent")
    if answer.fallback:
        lines.append(f"degraded: this is the edge's own answer; the server {answer.fallback}")
    return "\n".join(lines)


def checks(reports: Sequence[CutReport]) -> str:
    """A table of compared cuts."""
    head = ("cut", "samples", "max error", "relative", "vs whole", "top-1 same", "accuracy", "sent", "")
    rows = [head, *(_row(r) for r in reports)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)


def _row(r: CutReport) -> tuple[str, ...]:
    accuracy = "-"
    if r.accuracy is not None and r.reference_accuracy is not None:
        accuracy = f"{r.accuracy:.2%} (imported {r.reference_accuracy:.2%})"
    return (
        r.cut,
        str(r.samples),
        f"{r.max_abs_error:.3g}",
        f"{r.max_rel_error:.3g}",
        "-" if r.split_error is None else f"{r.split_error:.3g}",
        "-" if r.agreement is None else f"{r.agreement:.2%}",
        accuracy,
        f"{r.sent_bytes:.0f} B",
        f"FAILED: {r.failure}" if r.failure else "ok",
    )


def _summary(array: np.ndarray) -> str:
    flat = array.ravel()
    if array.ndim == 2 and array.shape[0] == 1 < array.shape[1]:
        top = np.argsort(-flat.astype(np.float64), kind="stable")[:_TOP]
        return "top: " + ", ".join(f"{i} ({flat[i]:.4g})" for i in top)
    if array.size <= _SHOWN:
        return np.array2string(flat, precision=6, separator=", ", max_line_width=10**6)
    return f"min {flat.min():.6g}, mean {flat.mean():.6g}, max {flat.max():.6g}"


def _plain(array: np.ndarray) -> Any:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    held = array.astype(object)
    held[~np.isfinite(array)] = None
    return held.tolist()
