"""The options of the pass ``partition``, as flags that ``edgecut partition`` and ``edgecut build`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgecut.cli import sharing

CUT, BUDGETS, PRIVACY, SITUATION = "Cut", "Budgets", "Privacy", "Network and server"
FEATURES = "Mode features: the backbone on the edge, the head in the cloud"
ROUTER = "Mode input: the edge answers alone where it is sure, else the cloud"
"""Headings in the help."""


def _flag(
    help: str, metavar: str | None, panel: str, kind: Any = str, default: Any = None
) -> tuple[Any, Any]:
    option = typer.Option(metavar=metavar, help=help, rich_help_panel=panel)
    return Annotated[kind if default is not None else kind | None, option], default


def _switch(name: str, help: str, panel: str) -> tuple[Any, Any]:
    return Annotated[bool, typer.Option(name, help=help, rich_help_panel=panel)], False


FLAGS: sharing.Flags = {
    "network": _flag("Network: a name, or a .toml file.", "NETWORK", SITUATION, str, "wifi"),
    "up_mbps": _flag("Uplink, in place of the network's.", "MBPS", SITUATION, float),
    "rtt_ms": _flag("Round trip, in place of the network's.", "MS", SITUATION, float),
    "load": _flag("The server takes this many times longer.", "X", SITUATION, float, 1.0),
    "objective": _flag("latency, energy, cost, throughput, or weighted.", "NAME", CUT, str, "latency"),
    "weights": _flag("Such as latency=1,energy=0.5 (per s and J).", "NAME=W,..", CUT),
    "cut": _flag("Take this cut: its crossing tensors joined by '+'.", "NAME", CUT),
    "boundary": _flag(
        "How tensors are sent: as held, in the best encoding, or in this one.",
        "none|auto|ENCODING",
        CUT,
        str,
        "none",
    ),
    "mode": _flag("See the headings below.", "best|features|input", CUT, str, "best"),
    "head": _flag(
        "Begins the head, or is what it reads; else the last spatial tensor.", "NODE|TENSOR", FEATURES
    ),
    "agreement": _flag("Share of answers that are the imported model's.", "SHARE", ROUTER, float, 0.99),
    "data": _flag("Real inputs: for mode input, --boundary (build: --calibration).", "DATA", CUT, Path),
    "max_input_bytes": _flag("Larger inputs go straight to the cloud.", "N", ROUTER, int),
    "require_win": _flag("Fail unless splitting wins by this, such as 10%.", "PERCENT", CUT),
    "measure": (
        Annotated[
            bool | None,
            typer.Option(
                "--measure/--no-measure",
                help="Time the halves of cuts, and plan with that; build does where --edge is local.",
                rich_help_panel=CUT,
            ),
        ],
        None,
    ),
    "runs": _flag("Of measuring: timed inferences at most; 0: as time allows.", "N", CUT, int, 0),
    "threads": _flag("Of measuring: CPU threads on either side.", "N", CUT, int, 1),
    "max_latency_ms": _flag("Per inference.", "MS", BUDGETS, float),
    "max_energy_j": _flag("Per inference, of the device.", "J", BUDGETS, float),
    "max_cost_usd": _flag("Per inference.", "USD", BUDGETS, float),
    "max_memory_mb": _flag("Weights and peak activations on the edge.", "MB", BUDGETS, float),
    "min_agreement": _flag("Share of answers with the same top-1.", "SHARE", BUDGETS, float),
    "max_accuracy_drop": _flag("Points of accuracy.", "POINTS", BUDGETS, float),
    "min_sqnr": _flag("Signal to noise of the worst output.", "DB", BUDGETS, float),
    "max_crossings": _flag("Tensors that cross.", "N", BUDGETS, int),
    "best_effort": _switch("--best-effort", "Go on with the nearest where no cut keeps to them.", BUDGETS),
    "private": _flag(
        "It, and what is derived from it, must not be sent.", "INPUT[=LABEL]", PRIVACY, list[str]
    ),
    "declassify": _flag("What this node makes may be sent all the same.", "NODE", PRIVACY, list[str]),
}
"""By the name of the pass's option."""


def _as_text(given: dict[str, Any]) -> dict[str, Any]:
    """The options that are set, as a pipeline would spell them."""
    if given["weights"]:
        given["weights"] = given["weights"].split(",")
    return {name: _spelled(value) for name, value in given.items() if value is not None}


def _spelled(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list) else str(value)


takes = sharing.adds("cutting", FLAGS, _as_text)
"""Gives a command these flags; it gets them as text in its parameter ``cutting``."""
