"""A profile as tables and bars on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from edgecut.ir.annotations import Conditions, Time
    from edgecut.passes.profile.compare import Comparison
    from edgecut.passes.profile.report import Report, Side

BAR = 40
# A spread above this is the machine's, not the model's.
DISTURBED = 0.15
SIDES: tuple[Side, Side] = ("edge", "cloud")


def show(report: Report, *, as_json: bool) -> None:
    """Print every group, the sums and totals, and a bar per kind of operator."""
    from rich.table import Table

    from edgecut.cli.tables import console
    from edgecut.ir import typed

    if as_json:
        print(typed.dumps(report, indent=2))
        return
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("group", "operators", "kind"):
        table.add_column(name, overflow="fold")
    for name in ("MMAC", report.edge if report.edge != report.cloud else "edge", "cloud"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        edge = _time(row.edge) if row.reason is None else f"[dim]{row.reason}[/]"
        kind = row.kind if row.precision == "float32" else f"{row.kind} {row.precision}"
        table.add_row(
            row.group, "+".join(row.operators), kind, f"{row.macs / 1e6:.3f}", edge, _time(row.cloud)
        )
    out.print(table)
    for side in SIDES:
        out.print(_summary(report, side))
        out.print(_bars(report, side))


def compared(found: Comparison, *, as_json: bool) -> None:
    """Print two profiles side by side."""
    from edgecut.cli.tables import console
    from edgecut.ir import typed

    if as_json:
        print(typed.dumps(found, indent=2))
        return
    console().print(_comparison(found))
    if not found.differs:
        print("The wholes differ by no more than their spreads.")


def precisions(found: dict[str, tuple[Comparison, list[str]]], *, as_json: bool) -> None:
    """Print float beside int8 on both sides, and what does not pay."""
    from edgecut.cli.tables import console
    from edgecut.ir import typed

    if as_json:
        sides = {name: {"comparison": c, "advice": advice} for name, (c, advice) in found.items()}
        print(typed.dumps(sides, indent=2))
        return
    out = console()
    for name, (comparison, advice) in found.items():
        out.print(f"[bold]{name}[/]")
        out.print(_comparison(comparison))
        for text in advice:
            out.print(f"  {text}")


def _comparison(found: Comparison) -> Table:
    from rich.table import Table

    from edgecut.ir.printer import seconds

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group" if found.lines else "kind", overflow="fold")
    for name in (found.first, found.second, "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in (found.lines, found.kinds, (found.whole,)):
        for line in part:
            ratio = f"{line.ratio:.2f}" if line.ratio is not None else "-"
            table.add_row(line.name, seconds(line.first_s), seconds(line.second_s), ratio)
        table.add_section()
    return table


def _time(time: Time | None) -> str:
    from edgecut.ir.printer import seconds

    if time is None:
        return "-"
    return f"{'~' if time.source == 'predicted' else ''}{seconds(time.seconds)}"


def _summary(report: Report, side: Side) -> str:
    from edgecut.ir.printer import seconds

    total = report.edge_total if side == "edge" else report.cloud_total
    conditions = report.edge_conditions if side == "edge" else report.cloud_conditions
    name = report.edge if side == "edge" else report.cloud
    if conditions is None:
        return f"[bold]{side} {name}[/]"
    if total is None:
        text = f"the groups that can run there take {seconds(report.sum(side))}"
    else:
        text = f"whole model {_time(total)}, {_how(conditions, total)}"
    return f"[bold]{side} {name}[/]: {text}{_state(conditions)}"


def _how(conditions: Conditions, total: Time) -> str:
    from edgecut.ir.printer import seconds

    if total.source == "predicted":
        error = conditions.error
        checked = (
            f"; such predictions miss by {error:.0%} (median)"
            if error
            else "; never compared with this target"
        )
        return f"predicted for {_threads(conditions)}{checked}"
    text = f"median of {conditions.runs} runs, spread {total.spread:.1%}"
    if conditions.outliers:
        text += f", {conditions.outliers} outliers left out"
    if conditions.interrupted:
        text += f", {conditions.interrupted} interrupted by other processes"
    if conditions.operators_s is not None:
        part = conditions.operators_s / total.seconds - 1
        text += (
            f"; operators add up to {seconds(conditions.operators_s)} ({part:+.1%}, {conditions.correction})"
        )
    if total.spread > DISTURBED:
        text += (
            "\n  [bold]the machine was not quiet[/]: measure again (--again) before relying on these times"
        )
    return text


def _state(conditions: Conditions) -> str:
    from edgecut.ir.printer import seconds, size

    parts = []
    if conditions.load_s is not None:
        parts.append(f"load {seconds(conditions.load_s)}")
    if conditions.first_s is not None:
        parts.append(f"first inference {seconds(conditions.first_s)}")
    if conditions.memory_bytes is not None:
        parts.append(f"peak memory {size(conditions.memory_bytes)}")
    if conditions.runtime:
        parts += [conditions.runtime, _threads(conditions), conditions.machine]
    if conditions.mhz is not None:
        parts.append(f"{conditions.mhz:.0f} MHz {conditions.governor}".rstrip())
    if conditions.celsius is not None:
        parts.append(f"{conditions.celsius:.0f} C")
    return f"\n  {', '.join(parts)}" if parts else ""


def _threads(conditions: Conditions) -> str:
    return f"{conditions.threads} thread{'s' if conditions.threads > 1 else ''}"


def _bars(report: Report, side: Side) -> str:
    from edgecut.ir.printer import seconds

    kinds = {kind: time for kind, time in report.by_kind(side).items() if time > 0}
    total = sum(kinds.values())
    width = max(map(len, kinds), default=0)
    lines = []
    for kind, time in kinds.items():
        bar = "#" * max(round(BAR * time / total), 1)
        lines.append(f"  {kind.ljust(width)}  {bar.ljust(BAR)} {time / total:6.1%}  {seconds(time)}")
    return "\n".join(lines)
