"""What the edge can run of a program, and why not the rest; and what TensorRT would refuse of it."""

from dataclasses import dataclass

from edgecut.ir.program import Program
from edgecut.targets import tflite
from edgecut.targets.onnx import tensorrt


@dataclass(frozen=True)
class Explained:
    """One fusion group: its nodes, their operators, and the reason why only the cloud can run it, if so."""

    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    cloud_only: str | None


def explain(program: Program) -> list[Explained]:
    """All fusion groups, in topological order."""
    kinds = {node.name: node.op_type for node in program.nodes}
    groups = tflite.fusion_groups(program)
    return [Explained(g.nodes, tuple(kinds[n] for n in g.nodes), g.reason) for g in groups]


def tensorrt_version() -> str:
    """Version of TensorRT whose table that is."""
    return tensorrt.table().version


def tensorrt_problems(program: Program) -> list[str]:
    """What keeps TensorRT from taking the whole program, by its published table; empty if nothing does."""
    return tensorrt.problems(program.model)
