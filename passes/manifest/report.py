"""``report.html``: the plan, its baselines and the network, on one page that needs nothing else."""

from collections.abc import Iterable
from html import escape
from importlib import resources

from edgecut.ir import annotations
from edgecut.ir.annotations import Cost, Group, Placement
from edgecut.ir.manifest import CutRecord, Manifest
from edgecut.ir.printer import bandwidth_range, seconds, size
from edgecut.ir.program import Program
from edgecut.passes.manifest.charts import Line, bars, latency_over_bandwidth, legend

COLOURS = 4
"""As many cuts have colours of their own in the style sheet."""


def html(made: Manifest, program: Program) -> str:
    """The report as one HTML page, without scripts and without anything from elsewhere."""
    title, lines, up = f"edgecut: {made.model}", _lines(made), made.network.up_mbps
    body = [
        f"<h1>{escape(made.model)}</h1>{_subtitle(made)}",
        "<h2>Latency of the plan and of not splitting</h2>",
        bars(_rows(made)),
        "<h2>Latency over uplink bandwidth</h2>",
        latency_over_bandwidth(lines, up, min(0.1, up / 2), max(1000.0, 2 * up)),
        legend(lines[::-1]),
        f"<p class=sub>The upright line is the uplink of the plan, {up:g} Mbit/s.</p>",
        f"<p>{escape(made.router.cut)}: {escape(made.router.describe())}</p>" if made.router else "",
        "<h2>Cuts in this build</h2>",
        _measured(made),
        _table(
            ("cut", "latency", "edge", "cloud", "upload", "best between"),
            ((("chosen" if i == 0 else ""), _cut_row(c)) for i, c in enumerate(made.cuts)),
        ),
        *_together(made),
        "<h2>What leaves the device</h2>",
        _table(("tensor", "by the cut", "type", "shape", "derived from"), _sent_rows(made)),
        "<h2>Graph</h2>",
        _table(("group", "side", "edge", "cloud", "weights"), _graph_rows(program)),
        "<h2>Passes</h2>",
        _table(("pass", "reported"), (("", [s.text, _figures(s.metrics)]) for s in made.steps)),
        "<h2>Files</h2>",
        _table(
            ("file", "size", "sha256"), (("", [f.path, size(f.bytes), f.sha256[:16]]) for f in made.files)
        ),
    ]
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{escape(title)}</title>"
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{style}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _subtitle(made: Manifest) -> str:
    network = made.network
    parts = (
        f"edge {made.edge.name} ({made.edge.costs})",
        f"cloud {made.cloud.name} ({made.cloud.costs})",
        f"{network.name}: {network.up_mbps:g} / {network.down_mbps:g} Mbit/s",
        f"round trip {seconds(network.rtt_s)}",
        f"quantization {made.quantization}",
        f"edgecut {made.edgecut_version}",
    )
    return f"<p class=sub>{escape(' · '.join(parts))}</p>"


def _rows(made: Manifest) -> list[tuple[str, float | None, str]]:
    """The plan first, then the other cuts of the build that split, then what not splitting would take."""
    chosen, *others = made.cuts
    plain = {"edge-only", "cloud-only"}
    cuts = [(c.name, c.latency_s, "cut") for c in others if c.name not in plain]
    base = [(b.name, b.latency_s, "base") for b in made.baselines]
    return [(f"the plan: {chosen.name}", chosen.latency_s, "chosen"), *cuts, *base]


def _lines(made: Manifest) -> list[Line]:
    """Drawn in this order: what is chosen lies on top."""
    up = made.network.up_mbps * 1e6 / 8
    known = {cut.name for cut in made.cuts}
    base = [
        Line(b.name, b.latency_s - b.up_bytes / up, b.up_bytes, "base")
        for b in made.baselines
        if b.latency_s is not None and b.name not in known
    ]
    styles = ["chosen", *(f"cut c{i % COLOURS}" for i in range(len(made.cuts)))]
    cuts = []
    for cut, style in zip(made.cuts, styles, strict=False):
        sent = cut.up_bytes * _asked(made, cut)
        cuts.append(Line(cut.name, cut.latency_s - sent / up, sent, style))
    return [*base, *reversed(cuts)]


def _asked(made: Manifest, cut: CutRecord) -> float:
    """Share of the requests on a cut that send anything."""
    return made.router.offloaded if made.router and made.router.cut == cut.name else 1.0


def _cut_row(cut: CutRecord) -> list[str]:
    times = [seconds(cut.latency_s), seconds(cut.edge_s), seconds(cut.cloud_s)]
    return [cut.name, *times, size(cut.up_bytes), bandwidth_range(cut.min_mbps, cut.max_mbps)]


def _sent_rows(made: Manifest) -> Iterable[tuple[str, list[str]]]:
    """Every tensor that some cut sends, and the labels of the private inputs that it was made from."""
    for cut in made.cuts:
        for sent in cut.sends:
            shape = " x ".join(map(str, sent.shape)) or "one number"
            yield "", [sent.name, cut.name, sent.dtype, shape, ", ".join(sent.labels) or "nothing private"]


def _measured(made: Manifest) -> str:
    """Which times are more than sums."""
    sides = made.cuts[0].measured
    rest = "; those of the other side are sums of its operators'" if len(sides) == 1 else ""
    if not sides:
        return "<p class=sub>Times are sums of those of the operators.</p>"
    return f"<p class=sub>Times of {' and '.join(sides)} are those of the emitted halves{rest}.</p>"


def _together(made: Manifest) -> Iterable[str]:
    """What encodings do to the outputs, where cuts have any."""
    known = [(cut.name, cut.together.describe()) for cut in made.cuts if cut.together is not None]
    if known:
        yield "<h2>What encodings do together</h2>"
        yield "".join(f"<p>{escape(name)}: {escape(figures)}</p>" for name, figures in known)


def _graph_rows(program: Program) -> Iterable[tuple[str, list[str]]]:
    operators: dict[str, list[str]] = {}
    for node in program.nodes:
        group, cost = annotations.get(node, Group), annotations.get(node, Cost)
        if group is None:
            continue
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            operators.setdefault(group.id, []).append(node.op_type)
        if cost is None or group.id != node.name:
            continue
        kinds = " + ".join(operators.get(group.id, [node.op_type]))
        placement = annotations.get(node, Placement)
        side = placement.side if placement else ""
        edge = seconds(cost.edge.seconds if cost.edge else None)
        cloud = seconds(cost.cloud.seconds if cost.cloud else None)
        yield side, [f"{kinds} → {node.outputs[0].name}", side, edge, cloud, size(cost.weight_bytes)]


def _figures(metrics: dict[str, float | str]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, list[str]]]) -> str:
    left = {head[0], "side", "best between", "reported", "sha256", *head[1:] * ("derived from" in head)}
    kinds = ["name" if i == 0 else (h if h in left else "n") for i, h in enumerate(head)]
    top = "".join(f'<th class="{k}">{escape(h)}</th>' for h, k in zip(head, kinds, strict=True))
    lines = []
    for style, cells in rows:
        line = "".join(f'<td class="{k}">{escape(c)}</td>' for c, k in zip(cells, kinds, strict=True))
        lines.append(f'<tr class="{style}">{line}</tr>')
    return (
        f"<div class=wrap><table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
