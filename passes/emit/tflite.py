"""Writes the edge half of every cut of the plan, as one TFLite file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgecut.ir import annotations as notes
from edgecut.ir import files
from edgecut.ir.annotations import Artifact, Artifacts, Wire
from edgecut.ir.program import Program
from edgecut.passes.base import Context, option
from edgecut.passes.emit import open_batch, planned, verifying
from edgecut.targets import tflite as target

FILE = "edge/model.tflite"


@dataclass(frozen=True)
class EmitTflite(planned.Planned):
    """Writes ``edge/model.tflite``, with one signature per cut that leaves the edge something to do."""

    name: ClassVar[str] = "emit-tflite"

    verify: bool = option(
        False, help="run the file in LiteRT and compare every group's result with ONNX Runtime's"
    )
    data: Path | None = option(None, help="inputs to verify with (seeded noise if none)", file=True)

    def run(self, program: Program, context: Context) -> Program:
        """Write the file below ``context.output``, record it, and say how the crossing tensors are held.

        Raises:
            ConstraintError: The plan puts a node on the edge that TFLite cannot run.
            CheckError: ``verify`` found a group whose result differs.
            TargetError: The disk is full or the place cannot be written.
        """
        cuts = planned.cuts(program)
        emitted = target.emit(program, cuts, open_batch.batches(program))
        self._annotate(program, emitted.wire)
        context.metrics["signatures"] = float(len(emitted.signatures))
        context.metrics["bytes"] = float(len(emitted.data))
        if not emitted.data:
            return program
        if self.verify:
            checked = [cuts[k] for k in emitted.signatures]
            context.metrics["verified_error"] = verifying.worst(program, checked, self.data)
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
