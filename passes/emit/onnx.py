"""Writes the cloud half of every cut of the plan, as a Triton model repository."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgecut.ir import annotations as notes
from edgecut.ir import files, sessions
from edgecut.ir.annotations import AnyBatch, Artifact, Artifacts, CloudChecks, Wire
from edgecut.ir.errors import ConstraintError, ModelError
from edgecut.ir.manifest import TensorRtRecord
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.emit import planned
from edgecut.runtime import batching
from edgecut.targets import onnx as target
from edgecut.targets.onnx import tensorrt

FOLDER = "cloud"


@dataclass(frozen=True)
class EmitOnnx(planned.Planned):
    """Writes ``cloud/<model>_cut<k>/`` for each cut that leaves the cloud something to do."""

    name: ClassVar[str] = "emit-onnx"
    version: ClassVar[int] = 2

    def run(self, program: Program, context: Context) -> Program:
        """Write the repository below ``context.output`` and record its files.

        Raises:
            ConstraintError: A cloud half takes one sample only, and any number was asked for.
            ModelError: A cut's cloud half cannot be made, or ONNX Runtime does not load it.
            TargetError: The disk is full or the place cannot be written.
        """
        cuts = planned.cuts(program)
        wire = {name: form for name, v in program.values().items() if (form := notes.get(v, Wire))}
        any_batch = notes.get(program.model, AnyBatch) is not None
        emitted = target.emit(program, cuts, wire, any_batch=any_batch)
        folder = context.output / FOLDER
        written = emitted.write(folder)
        for model in emitted.models:
            path = folder / model.name / target.VERSION / "model.onnx"
            session = _session(path, model.cut)
            if any_batch and not batching.mixes_nothing(session):
                what = "its cloud half gives other answers for several samples than for each alone"
                raise ConstraintError(what, where=f"cut {model.cut}", hint="leave out --dynamic-batch")
        found = [_artifact(context.output, folder / path) for path in written]
        before = notes.get(program.model, Artifacts) or Artifacts()
        kept = [a for a in before.files if a.path not in {new.path for new in found}]
        notes.put(program.model, replace(before, files=(*kept, *found)))
        checks = [TensorRtRecord(m.name, tensorrt.table().version, m.tensorrt) for m in emitted.models]
        notes.put(program.model, CloudChecks(tuple(checks)))
        context.metrics["models"] = float(len(emitted.models))
        context.metrics["weight_bytes"] = float(emitted.weights.size)
        return program


def _artifact(root: Path, path: Path) -> Artifact:
    return Artifact(path.relative_to(root).as_posix(), files.sha256(path), path.stat().st_size)


def _session(path: Path, cut: str) -> Any:
    import onnxruntime as ort

    options = sessions.options(optimize=False, quiet=True)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes derive from Exception and RuntimeError, by kind
        raise ModelError(f"ONNX Runtime does not load its cloud half: {error}", where=f"cut {cut}") from error
