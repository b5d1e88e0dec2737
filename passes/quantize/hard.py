"""Hard swish as two operators that integer kernels compute fast: a limited sum, and a product.

x * limit(x / 6 + 1/2, 0, 1) has no int8 kernel that is fast. HardSigmoid and Mul have, where the gate between
them is rounded to a grid of its own: then every runtime computes the same, and ONNX Runtime says what.
"""

import onnx_ir as oir

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.program import Program


def split(program: Program) -> None:
    """Write every HardSwish as HardSigmoid and Mul, in place."""
    taken = set(program.values()) | {n.name or "" for n in program.nodes}
    for node in [n for n in program.nodes if n.op_type == "HardSwish" and n.domain in ("", "ai.onnx")]:
        x, out = node.inputs[0], node.outputs[0]
        name = _free(f"{node.name}_gate", taken)
        gate = oir.val(name, oir.DataType.FLOAT, out.shape)
        made = oir.node("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5}, outputs=[gate], name=name)
        annotations.put(made, annotations.get(node, Origin) or Origin((node.name or "",)))
        program.graph.insert_before(node, made)
        node.op_type = "Mul"
        node.resize_inputs(2)
        node.replace_input_with(1, gate)


def is_gate(node: oir.Node) -> bool:
    """Whether a HardSigmoid is limit(x + 3, 0, 6) / 6, which integer kernels compute."""
    alpha = node.attributes["alpha"].as_float() if "alpha" in node.attributes else 0.2
    beta = node.attributes["beta"].as_float() if "beta" in node.attributes else 0.5
    return abs(alpha * 6 - 1) < 1e-6 and beta == 0.5


def _free(wanted: str, taken: set[str]) -> str:
    name = next(n for n in (wanted, *(f"{wanted}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
    taken.add(name)
    return name
