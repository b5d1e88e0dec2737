"""Writes a model that is not cut as one TFLite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgecut.ir import files
from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.base import Context, Pass, option
from edgecut.passes.emit import batching, verifying
from edgecut.targets import tflite as target
from edgecut.targets.tflite import dynamic


@dataclass(frozen=True)
class Convert(Pass):
    """Writes the whole model as a TFLite file, with the signature ``serving_default``."""

    name: ClassVar[str] = "convert"

    to: Path = option(help="the file to write (.tflite)")
    dynamic_batch: bool = option(False, help="take any number of samples at once")
    verify: bool = option(False, help="run it in LiteRT and compare every group's result with ONNX Runtime's")

    def run(self, program: Program, context: Context) -> Program:
        """Write the file, whole or not at all.

        Raises:
            ConstraintError: TFLite cannot run a node, or the batch is baked into one.
            ModelError: The file would exceed 2 GiB.
            CheckError: ``verify`` found a group whose result differs.
            TargetError: The disk is full or the place cannot be written.
        """
        batches = None
        if self.dynamic_batch:
            first, second = (batching.at_batch(program, n) for n in dynamic.BATCHES)
            batches = first, second
        data = target.convert(program, batches)
        if self.verify:
            context.metrics["verified_error"] = verifying.worst(program, [named_cut(program, "edge-only")])
        files.write(self.to, data)
        context.metrics["bytes"] = float(len(data))
        return program
