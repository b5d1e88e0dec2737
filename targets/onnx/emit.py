"""Emits the cloud halves of a program's cuts as one model repository.

The weights of all cuts are stored once, as ``weights.bin``. ONNX Runtime (since 1.24), like ONNX's own
loader, refuses external data outside of a model's folder, be it by ``..`` or through a symbolic link.
So each version folder holds a hard link to the one file: ONNX Runtime, Triton and TensorRT read it as an
ordinary file, ``tar`` and ``rsync -H`` keep it one file, and ``cp -r``, ``scp`` and ``zip`` turn it into
ordinary copies, which work too. (ONNX's Python loader refuses files of several links: load such a copy.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import onnx
import onnx_ir as oir

from edgecut.ir import annotations as notes
from edgecut.ir import batch, coded, files, store
from edgecut.ir.annotations import Cut, Wire
from edgecut.ir.coded import Coded
from edgecut.ir.errors import ConstraintError, ModelError
from edgecut.ir.extract import split
from edgecut.ir.program import Program
from edgecut.targets.onnx import sparsity, tensorrt, triton
from edgecut.targets.onnx.boundary import take_wire_inputs
from edgecut.targets.onnx.naming import cloud_model_name, model_name
from edgecut.targets.onnx.unsigned import make_unsigned
from edgecut.targets.onnx.weights import WeightFile

WEIGHTS = "weights.bin"
VERSION = "1"
ENGINES = "tensorrt.sh"


@dataclass(frozen=True)
class CloudModel:
    """The cloud half of one cut."""

    name: str
    cut: str
    onnx: bytes
    config: str
    """Text of ``config.pbtxt``."""
    external: bool
    """Whether it refers to the weight file."""
    tensorrt: tuple[str, ...] = ()
    """What keeps TensorRT from taking it, by its published table."""
    sparse: bool = False
    """Whether it has weights with 2:4 sparsity."""


@dataclass(frozen=True)
class CloudFiles:
    """A model repository that is not yet on disk."""

    models: tuple[CloudModel, ...]
    weights: WeightFile

    def write(self, folder: Path) -> list[PurePosixPath]:
        """Write the repository into a folder.

        Returns:
            The files written, relative to ``folder``.

        Raises:
            TargetError: The disk is full or the place cannot be written.
        """
        written: list[PurePosixPath] = []
        if self.weights.size:
            _write_blocks(folder / WEIGHTS, self.weights)
            written.append(PurePosixPath(WEIGHTS))
        for model in self.models:
            place = PurePosixPath(model.name)
            files.write(folder / place / "config.pbtxt", model.config.encode())
            files.write(folder / place / VERSION / "model.onnx", model.onnx)
            written += [place / "config.pbtxt", place / VERSION / "model.onnx"]
            if model.external:
                _link(folder / WEIGHTS, folder / place / VERSION / WEIGHTS)
                written.append(place / VERSION / WEIGHTS)
        if self.models:
            sparse = any(m.sparse for m in self.models)
            script = tensorrt.script([m.name for m in self.models], sparse=sparse)
            files.write(folder / ENGINES, script.encode())
            (folder / ENGINES).chmod(0o755)
            written.append(PurePosixPath(ENGINES))
        return written


def emit(
    program: Program, cuts: Sequence[Cut], wire: Mapping[str, Wire], *, any_batch: bool = False
) -> CloudFiles:
    """Make the cloud halves of some cuts; a cut that leaves the cloud nothing to do has none.

    Args:
        program: The whole program.
        cuts: The plan's cuts; the model of cut number k is called ``<model>_cut<k>``.
        wire: Wire form of the crossing tensors; absent where it is the IR's own layout and type.
        any_batch: Leave the first dimension of inputs and outputs open.

    Raises:
        ConstraintError: ``any_batch``, and an input or output has no first dimension of one.
        ModelError: A crossing tensor has no static shape, a type that cannot be sent, or a wire form
            that does not fit it; or one cloud half alone is over 2 GiB without its large weights.
    """
    weights = WeightFile(WEIGHTS)
    name = model_name(program)
    models = []
    for index, cut in enumerate(cuts):
        cloud = _cloud_half(program, cut)
        if cloud is not None:
            sent = coded.of_cut(program, cut)
            coded.take_coded(cloud, sent)
            take_wire_inputs(cloud, _forms(sent, wire))
            make_unsigned(cloud)
            models.append(_model(cloud, cloud_model_name(name, index), cut, weights, any_batch=any_batch))
    return CloudFiles(tuple(models), weights)


def _cloud_half(program: Program, cut: Cut) -> Program | None:
    if not cut.cloud:
        return split(program, cut)[1]
    found = store.get(cut.cloud)
    if found is None:
        what = f"its cloud half {cut.cloud[:12]} is not in {store.root()}"
        raise ModelError(what, where=f"cut {cut.name}", hint="run the pass partition again")
    return found


def _forms(sent: Sequence[Coded], wire: Mapping[str, Wire]) -> dict[str, Wire]:
    """Wire forms of the values that cross as they are, or as halves of theirs."""
    found = {}
    for item in sent:
        if not item.is_transformed and item.value in wire:
            form = wire[item.value]
            found[item.value] = replace(form, dtype="float16") if item.spec.kind == "float16" else form
    return found


def _model(cloud: Program, name: str, cut: Cut, weights: WeightFile, *, any_batch: bool) -> CloudModel:
    _strip(cloud)
    refused = tuple(tensorrt.problems(cloud.model))
    sparse = sparsity.has_sparse_weights(cloud.graph)
    external = weights.take(cloud.graph)
    cloud.graph.name = name
    cloud.model.producer_name = "edgecut"
    proto = oir.to_proto(cloud.model)
    if any_batch:
        _open(proto, cloud, cut)
    config = triton.config(name, cloud.graph.inputs, cloud.graph.outputs)
    try:
        data = proto.SerializeToString(deterministic=True)
    except ValueError as error:
        raise ModelError("is over 2 GiB even without its large weights", where=name) from error
    return CloudModel(name, cut.name, data, config, external, refused, sparse)


def _open(proto: onnx.ModelProto, cloud: Program, cut: Cut) -> None:
    """Open the first dimension of a cloud half: of its file, and of what its configuration says."""
    if not batch.open_first_axis(proto):
        what = "what its cloud half takes or gives does not begin with a batch of one"
        raise ConstraintError(what, where=f"cut {cut.name}", hint="leave out --dynamic-batch")
    for value in (*cloud.graph.inputs, *cloud.graph.outputs):
        assert value.shape is not None
        value.shape = oir.Shape([batch.NAME, *list(value.shape)[1:]])


def _strip(program: Program) -> None:
    """Remove annotations: measured times would make the artifact differ from build to build."""
    kept = [program.model.metadata_props, program.graph.metadata_props]
    kept += [v.metadata_props for v in program.values().values()]
    kept += [n.metadata_props for n in program.nodes]
    for props in kept:
        for key in [k for k in props if k.startswith(notes.PREFIX)]:
            del props[key]


def _write_blocks(path: Path, weights: WeightFile) -> None:
    with files.disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                file.writelines(weights.blocks())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def _link(source: Path, target: Path) -> None:
    with files.disk_errors(target):
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # FAT and some network file systems know no hard links
            shutil.copyfile(source, target)
