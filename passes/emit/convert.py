"""Writes a model that is not cut as one TFLite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgecut.ir import files
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.emit import verifying
from edgecut.targets import tflite as target


@dataclass(frozen=True)
class Convert(Pass):
    """Writes the whole model as a TFLite file, with the signature ``serving_default``."""

    name: ClassVar[str] = "convert"

    to: Path = option(help="the file to write (.tflite)")
    verify: bool = option(False, help="run it in LiteRT and compare every group's result with ONNX Runtime's")

    def run(self, program: Program, context: Context) -> Program:
        """Write the file, whole or not at all.

        Raises:
            ConstraintError: TFLite cannot run a node.
            ModelError: The file would exceed 2 GiB.
            CheckError: ``verify`` found a group whose result differs.
            TargetError: The disk is full or the place cannot be written.
        """
        data = target.convert(program)
        if self.verify:
            context.metrics["verified_error"] = verifying.worst(program, [named_cut(program, "edge-only")])
        files.write(self.to, data)
        context.metrics["bytes"] = float(len(data))
        return program
