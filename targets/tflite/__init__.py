"""The TFLite back end: ONNX operators to a flatbuffer that LiteRT runs, without TensorFlow.

`fusion_groups` says what the edge can run and as which units, `spelled` which nodes make up a kernel, `emit`
writes the file, `source_map` reads back which nodes every operator came from. The stages, in the order in
which `backend.lower` calls them: `importer` (with `ops`), `patterns`, `affine`, `heads`, `reshapes`,
`layout`, `fuse`, `quantize`, `shuffles`, `taps`, `stored`, `faults`; then `groups`, and `pack` for the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgecut.ir.annotations import Cut
    from edgecut.ir.program import Program
    from edgecut.targets.tflite.backend import Emitted
    from edgecut.targets.tflite.groups import FusionGroup

__all__ = ["convert", "emit", "fusion_groups", "side_by_side", "source_map", "spelled"]


def fusion_groups(program: Program) -> list[FusionGroup]:
    """What the edge runs as one, for the whole program.

    Every node that is not duplicable is in exactly one group; a node that cannot be lowered is in a
    group with a reason. Groups come in topological order and do not depend on any cut.
    """
    from edgecut.targets.tflite import backend

    return backend.fusion_groups(program)


def spelled(program: Program, kind: str) -> list[frozenset[str]]:
    """Names of the nodes that each operator of a kind, such as ``GELU``, stands for in a program."""
    from edgecut.targets.tflite import backend

    return backend.spelled(program, kind)


def emit(program: Program, cuts: Sequence[Cut], batches: tuple[Program, Program] | None = None) -> Emitted:
    """Write the edge side of every cut into one TFLite file, as signature ``cut{k}`` for cut number k.

    Signature inputs are the graph inputs, outputs the crossing tensors (in the order that the kernels
    make them, see `Emitted.wire`) and the graph outputs that the edge computes (in their own order).
    For one program and list of cuts the bytes are always the same.

    Args:
        program: For a batch of one.
        cuts: Where it is cut.
        batches: The same program for the batches `dynamic.BATCHES`, for a file that takes any.

    Raises:
        ConstraintError: A node before a cut cannot be lowered; the message names it and says why.
        ModelError: The file would exceed 2 GiB.
    """
    from edgecut.targets.tflite import backend

    return backend.emit(program, cuts, batches)


def convert(program: Program, batches: tuple[Program, Program] | None = None) -> bytes:
    """Write the whole program as a TFLite file, as signature ``serving_default``.

    Args:
        program: For a batch of one.
        batches: The same for the batches `dynamic.BATCHES`, for a file that takes any.

    Raises:
        ConstraintError: A node cannot be lowered; the message names it and says why.
        ModelError: The file would exceed 2 GiB.
    """
    from edgecut.targets.tflite import backend

    return backend.convert(program, batches)


def side_by_side(programs: Mapping[str, Program]) -> bytes:
    """Write several whole programs as one TFLite file, each as the signature of its name, to compare them.

    Raises:
        ConstraintError: A node cannot be lowered; the message names it and says why.
        ModelError: The file would exceed 2 GiB.
    """
    from edgecut.targets.tflite import backend

    return backend.side_by_side(programs)


def source_map(data: bytes) -> dict[str, list[list[str]]]:
    """The ONNX nodes of every operator, in the order of execution, for each signature of a file.

    Raises:
        ModelError: The file was not written by edgecut.
    """
    from edgecut.targets.tflite import backend

    return backend.source_map(data)
