"""Lets the artifacts take any number of samples at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecut.ir import annotations as notes
from edgecut.ir import coded
from edgecut.ir.annotations import AnyBatch, Router
from edgecut.ir.errors import ConstraintError
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.emit import batching, planned
from edgecut.targets.tflite import dynamic


@dataclass(frozen=True)
class OpenBatch(planned.Planned):
    """Lets the halves that are emitted next take any number of samples along the first dimension."""

    name: ClassVar[str] = "open-batch"

    def run(self, program: Program, context: Context) -> Program:
        """Note it on the program, after a look at whether it can be.

        Raises:
            ConstraintError: The batch is baked into the model, or what decides or codes takes one sample.
        """
        for batch in dynamic.BATCHES:
            batching.at_batch(program, batch)
        if notes.get(program.model, Router) is not None:
            what = "a router decides for one sample at a time"
            raise ConstraintError(what, hint="leave out --dynamic-batch, or --mode input")
        for cut in planned.cuts(program):
            for item in coded.of_cut(program, cut):
                if item.is_transformed or item.spec.coder != "none":
                    what = f"is sent as {item.spec}, which codes one sample at a time"
                    raise ConstraintError(
                        what, where=item.value, hint="leave out --dynamic-batch, or --boundary"
                    )
        notes.put(program.model, AnyBatch())
        return program


def batches(program: Program) -> tuple[Program, Program] | None:
    """The program for the two batches that the TFLite back end wants; None where its batch is one."""
    if notes.get(program.model, AnyBatch) is None:
        return None
    first, second = (batching.at_batch(program, n) for n in dynamic.BATCHES)
    return first, second
