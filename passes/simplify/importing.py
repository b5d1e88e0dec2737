"""The pass that every pipeline begins with: the user's model becomes a program."""

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path

from edgecut import frontends
from edgecut.frontends import onnx as onnx_frontend
from edgecut.frontends import shapes
from edgecut.ir import annotations, files, store
from edgecut.ir.annotations import SCHEMA_KEY, Reference, Source, Step
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program, history
from edgecut.passes import registry
from edgecut.passes.base import Context, Pass, option


@dataclass(frozen=True)
class Import(Pass):
    """Read a model of any known format; an edgecut IR file keeps its annotations."""

    name = "import"
    cacheable = True

    model: Path = option(help="ONNX, .pt2, .keras, .h5, SavedModel folder, or an edgecut IR file.", file=True)
    shape: tuple[str, ...] = option((), help="Shapes of inputs: NAME=1,3,224,224.")
    keep: bool = option(True, help="keep the model in the store, for later passes to compare with")

    def files(self) -> list[Path]:
        """The model, and the files beside it that hold its weights."""
        beside = onnx_frontend.external_files(self.model) if self.model.suffix == ".onnx" else []
        return [self.model, *beside]

    def run(self, program: Program, context: Context) -> Program:
        """Read the model, name its source, and keep it as the reference that later passes compare with."""
        wanted = shapes.parse(self.shape)
        if is_ir(self.model):
            return self._annotated(wanted, context)
        imported = frontends.load(self.model, wanted)
        if not imported.graph.name:
            imported.graph.name = self.model.stem
        source = Source(self.model.name, _hash(self.model), frontends.detect(self.model).name)
        annotations.put(imported.model, source)
        if self.keep:
            annotations.put(imported.model, Reference(store.put(imported)))
        return imported

    def _annotated(self, wanted: shapes.Shapes, context: Context) -> Program:
        if wanted:
            hint = "give --shape when the original model is imported"
            raise UsageError("an edgecut IR file has fixed shapes", where="shape", hint=hint)
        program = Program.load(self.model)
        reference = annotations.get(program.model, Reference)
        if reference is not None and store.has(reference.key):
            return program
        if any(_is_numeric(step) for step in history(program).steps):
            # Only comparing and building need it, and they say so themselves.
            context.warn(f"{self.model}: the imported model that it came from is not in the store here")
            return program
        # Nothing so far changed what it computes, so it can be its own reference: it comes from elsewhere.
        annotations.put(program.model, Reference(store.put(program)))
        return program


def is_ir(path: Path) -> bool:
    """Whether a file is an edgecut IR file rather than any ONNX model."""
    if path.suffix != ".onnx" or not path.is_file() or not _mentions(path, SCHEMA_KEY):
        return False
    proto = onnx_frontend.read_structure(path)
    return any(entry.key == SCHEMA_KEY for entry in proto.metadata_props)


def _mentions(path: Path, text: str) -> bool:
    """Whether these bytes are anywhere in a file: far cheaper than to parse it."""
    if not path.stat().st_size:  # cannot be mapped
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


def _is_numeric(step: Step) -> bool:
    name = step.text.partition("{")[0]
    return name in registry.available() and registry.load(name).numeric


def _hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, that over names and hashes of its files."""
    if path.is_file():
        return files.sha256(path)
    digest = hashlib.sha256()
    for item in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{item.relative_to(path).as_posix()}={files.sha256(item)}\n".encode())
    return digest.hexdigest()
