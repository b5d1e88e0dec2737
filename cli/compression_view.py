"""Tables of what compression did: each step, and each kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecut.ir.program import Program
    from edgecut.passes.effects import Effects
    from edgecut.passes.quantize.explain import Kernel


def effects(found: Effects) -> None:
    """Print what each compressing step made of size, operations, time and accuracy."""
    from rich.table import Table

    from edgecut.cli import tables
    from edgecut.ir.printer import seconds, size

    if not found.compressed:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("step", "weights", "MACs", "edge", "top-1", "agreement", "SQNR"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in found.steps:
        top1 = (
            "" if step.accuracy is None else f"{_percent(step.accuracy_before)} -> {_percent(step.accuracy)}"
        )
        edge = (
            ""
            if step.edge is None
            else f"{'~' * (step.edge.source == 'predicted')}{seconds(step.edge.seconds)}"
        )
        table.add_row(
            step.step, size(step.weight_bytes), f"{step.macs / 1e6:.4g} M", edge, top1,
            _percent(step.agreement), "" if step.sqnr_db is None else f"{step.sqnr_db:.1f} dB",
        )  # fmt: skip
    tables.console().print(table)
    tables.console().print()


def compression(found: Effects, program: Program, *, explain: bool, as_json: bool) -> None:
    """Print the steps, the last one's figures, and on demand every kernel's error, saving and decision."""
    from edgecut.ir import typed
    from edgecut.ir.program import history
    from edgecut.passes.quantize.explain import kernels

    figures = next((s.metrics for s in reversed(history(program).steps) if "weight_bytes" in s.metrics), {})
    if found.compressed:
        # Of all steps together; each says what itself did.
        first = found.steps[0]
        figures = {**figures, "weight_bytes_before": first.weight_bytes, "macs_before": first.macs}
    if as_json:
        nodes = {"kernels": kernels(program)} if explain else {}
        print(typed.dumps({**figures, "steps": found.steps, **nodes}, indent=2))
        return
    effects(found)
    if explain:
        _kernels(kernels(program))


def _kernels(rows: list[Kernel]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from edgecut.cli import tables

    table = Table(box=None, pad_edge=False, header_style="bold")
    # Names are shown whole, as `--keep` wants them.
    for name in ("node", "operators", "at the node", "at the output", "agreement", "saves", "decision"):
        left = name in ("node", "operators", "decision")
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=not left)
    for row in rows:
        own = row.sensitivity
        mark = {"measured": "", "predicted": "~", "estimated": "?"}[own.known]
        reason = f"[dim]: {escape(own.reason)}[/]" if own.reason else ""
        table.add_row(
            escape(row.node), row.operators, _decibel(own.node_sqnr_db), _decibel(own.output_sqnr_db),
            _percent(own.agreement), f"{mark}{1e6 * own.saved_s:.1f} us",
            f"{'integer' if own.integer else '[yellow]float[/]'}{reason}",
        )  # fmt: skip
    tables.console().print(table)
    integers = sum(row.sensitivity.integer for row in rows)
    tables.console().print(
        f"{integers} of {len(rows)} kernels on integers  (~ predicted, ? guessed from operations)"
    )


def _decibel(value: float) -> str:
    """A kernel that was never alone on integers has no error of its own."""
    from edgecut.passes.numerics import MAX_SQNR_DB

    return "-" if value >= MAX_SQNR_DB else f"{value:.1f} dB"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
