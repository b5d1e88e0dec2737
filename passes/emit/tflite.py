"""Writes the edge half of every cut of the plan, as one TFLite file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgecut.ir import annotations as notes
from edgecut.ir import files
from edgecut.ir.annotations import Artifact, Artifacts, Cut, Plan, Wire
from edgecut.ir.errors import CheckError
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.targets import tflite as target

FILE = "edge/model.tflite"


@dataclass(frozen=True)
class EmitTflite(Pass):
    """Writes ``edge/model.tflite``, with one signature per cut that leaves the edge something to do."""

    name: ClassVar[str] = "emit-tflite"

    verify: bool = option(
        False, help="run the file in LiteRT and compare every group's result with ONNX Runtime's"
    )
    data: Path | None = option(None, help="inputs to verify with (seeded noise if none)", file=True)

    def check_before(self, program: Program) -> None:
        """The cuts must have been chosen.

        Raises:
            ModelError: There is no plan.
        """
        notes.require(program.model, Plan, "run the pass partition first")

    def run(self, program: Program, context: Context) -> Program:
        """Write the file below ``context.output``, record it, and say how the crossing tensors are held.

        Raises:
            ConstraintError: The plan puts a node on the edge that TFLite cannot run.
            CheckError: ``verify`` found a group whose result differs.
            TargetError: The disk is full or the place cannot be written.
        """
        plan = notes.require(program.model, Plan, "run the pass partition first")
        cuts = [figures.cut for figures in plan.cuts]
        emitted = target.emit(program, cuts)
        self._annotate(program, emitted.wire)
        context.metrics["signatures"] = float(len(emitted.signatures))
        context.metrics["bytes"] = float(len(emitted.data))
        if not emitted.data:
            return program
        if self.verify:
            self._verify(program, [cuts[k] for k in emitted.signatures], context)
        files.write(context.output / FILE, emitted.data)
        made = Artifact(FILE, hashlib.sha256(emitted.data).hexdigest(), len(emitted.data))
        before = notes.get(program.model, Artifacts) or Artifacts()
        kept = [a for a in before.files if a.path != FILE]
        notes.put(program.model, replace(before, files=(*kept, made)))
        return program

    def _annotate(self, program: Program, wire: dict[str, Wire]) -> None:
        for name, value in program.values().items():
            notes.drop(value, Wire)
            if name in wire:
                notes.put(value, wire[name])

    def _verify(self, program: Program, cuts: list[Cut], context: Context) -> None:
        from edgecut.targets.tflite import verify

        inputs = verify.noise(program) if self.data is None else _sample(self.data, program)
        worst = 0.0
        for cut in cuts:
            for check in verify.groups(program, cut, inputs):
                worst = max(worst, check.error)
                if not check.ok:
                    hint = f"its nodes: {', '.join(check.nodes)}"
                    what = f"LiteRT and ONNX Runtime differ by {check.text} (limit {check.limit})"
                    raise CheckError(what, where=check.value, hint=hint)
        context.metrics["verified_error"] = round(worst, 9)


def _sample(path: Path, program: Program) -> dict[str, Any]:
    from edgecut.frontends import data

    dataset = data.load(path, program.inputs, limit=1)
    return next(iter(dataset))
