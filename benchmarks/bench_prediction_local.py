"""Predicted against measured on this machine: every model held out in turn.

PROFILES=DIR keeps the profiles there, for `edgecut profile --fit TARGET DIR/*.json`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import profiled

from edgecut.ir import typed
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.profile import refit, report
from edgecut.passes.profile.report import Report
from edgecut.profilers import fit

GENERATED = (
    "resnet18", "mobilenetv3s", "efflite0", "shufflenetv2", "yolo", "unet", "deeplab", "resnet8", "ecg1d",
    "dscnn", "convnext", "vit_tiny", "bert_tiny",
)  # fmt: skip


def main() -> None:
    if not profiled.ZOO.is_dir():
        sys.exit("the model zoo is not on this machine")
    reports = [measured(name, program) for name, program in profiled.programs(GENERATED)]
    print("## Prediction of this machine\n")
    networks = len(profiled.ZOO_DATA) + len(GENERATED)
    print(
        f"The same for this machine: operators of {networks} networks as `edgecut profile` times them, one\n"
        "thread, each network held out in turn with both its precisions. As above, operators under a\n"
        "hundredth of their network are not counted, nor kinds that no other network has.\n"
    )
    print("| runtime | precision | operators | median | 90th percentile | whole networks, median |")
    print("|---|---|---|---|---|---|")
    for side, runtime in (("edge", "LiteRT"), ("cloud", "ONNX Runtime")):
        held = fit.held_out(refit.samples(reports, side))  # type: ignore[arg-type]
        row(runtime, "both", held)
        for precision in ("float32", "int8"):
            row("", precision, [h for h in held if h.sample.parts[0].precision == precision])


def measured(name: str, program: Program) -> Report:
    """The profile of a program, under the name of its network: both precisions are held out together."""
    done = recipes.make("profile", again=True).run(program, Context())
    print(name, file=sys.stderr)
    found = replace(report.of(done), model=name.split()[0])
    if "PROFILES" in os.environ:
        file = Path(os.environ["PROFILES"]) / f"{name.replace(' ', '-')}.json"
        file.write_text(typed.dumps(found), encoding="utf-8")
    return found


def row(runtime: str, precision: str, held: list[fit.Held]) -> None:
    e = fit.error(held, "")
    assert e is not None
    print(f"| {runtime} | {precision} | {e.samples} | {e.median:.1%} | {e.p90:.1%} | {e.whole_median:.1%} |")


if __name__ == "__main__":
    main()
