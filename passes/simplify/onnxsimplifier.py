"""onnxsim: constant folding and a few dozen small fusions, with our annotations carried over."""

from dataclasses import dataclass

import onnx_ir as oir

from edgecut.frontends import normalize
from edgecut.ir import annotations, extract
from edgecut.ir.annotations import Origin
from edgecut.ir.program import EXTERNAL_DATA_THRESHOLD, Program, TensorSpec
from edgecut.passes.simplify import extension, rewriting

# Left to our own rewrites, or to the back ends: these give a tensor's name to another tensor, or put
# reshapes and tensors without a name of the user's into the graph.
_SKIPPED = [
    "fuse_bn_into_conv",
    "fuse_matmul_add_bias_into_gemm",
    "fuse_matmul_add_bias_into_gemm_batched",
    "fuse_qkv",
    "fuse_attention",
]


_KERNELS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LARGE = 1 << 14
"""Elements of a weight from which on copies take time."""


class SimplifierError(Exception):
    """onnxsim did not do its work; the message is its own."""


@dataclass(frozen=True)
class _Old:
    """A node as it was before."""

    index: int
    origin: tuple[str, ...]
    reads: tuple[str, ...]
    constant: bool


def run(program: Program) -> Program:
    """The program as onnxsim leaves it; inputs, outputs and annotations are as before.

    Raises:
        SimplifierError: onnxsim cannot take this model, or would change its inputs and outputs.
    """
    if program.weight_bytes() > EXTERNAL_DATA_THRESHOLD:
        raise SimplifierError("its weights are over 2 GiB")
    try:
        whole = program.copy()
        oir.external_data.load_to_model(whole.model)
        with normalize.detached(whole.model, _stays) as proto:
            small = extension.simplify(proto, _SKIPPED)
        model = normalize.attached(small, whole.model)
    except Exception as error:  # it is C++ underneath, and raises what it likes
        raise SimplifierError(str(error).strip().split("\n")[0]) from error
    result = Program(model)
    if not (_fits(program.inputs, result.inputs) and _fits(program.outputs, result.outputs)):
        raise SimplifierError("the inputs or outputs would change")
    result.name_nodes()
    _restore(program, result)
    return result


def _stays(weight: oir.Value) -> bool:
    """Whether this is a large matrix or kernel that onnxsim would only copy to and fro."""
    tensor = weight.const_value
    if tensor is None or tensor.size < _LARGE or weight.is_graph_output():
        return False
    return all(use.idx == 1 and use.node.op_type in _KERNELS for use in weight.uses())


def _fits(old: list[TensorSpec], new: list[TensorSpec]) -> bool:
    """Whether inputs or outputs are the same, but for dimensions that were open and have been found out."""
    if [(s.name, s.dtype, len(s.shape)) for s in old] != [(s.name, s.dtype, len(s.shape)) for s in new]:
        return False
    pairs = [dims for a, b in zip(old, new, strict=True) for dims in zip(a.shape, b.shape, strict=True)]
    return all(a == b or not isinstance(a, int) for a, b in pairs)


def _restore(old: Program, new: Program) -> None:
    """Copy annotations by name; a node that stands for others gets their names as its origin."""
    new.model.metadata_props.clear()  # onnxsim leaves a diary of its own there
    new.model.metadata_props.update(old.model.metadata_props)
    values = old.values()
    for name, value in new.values().items():
        if name in values:
            annotations.copy(values[name], value)
    nodes = {node.name: node for node in old.nodes}
    taken = {node.name for node in new.nodes}
    for node, names in _origins(old, new).items():
        same = nodes.get(node.name)
        if same is not None:
            annotations.copy(same, node)
            annotations.drop(node, Origin)
        elif names and names[-1] not in taken:
            node.name = names[-1]
            taken.add(node.name)
        if names and names != (node.name,):
            annotations.put(node, Origin(names))


def _origins(old: Program, new: Program) -> dict[oir.Node, tuple[str, ...]]:
    """For each new node the imported nodes that it stands for, found through the tensors that both know."""
    makers = _makers(old)
    kept = set(new.values())
    found: dict[oir.Node, tuple[str, ...]] = {}
    for node in reversed(list(new.nodes)):
        known = [v.name or "" for v in node.outputs if v.name in makers]
        if known:
            found[node] = _between(known, makers, kept)
            continue
        # Its tensors are onnxsim's own: it is one of several that stand for the same as their reader.
        readers = dict.fromkeys(use.node for v in node.outputs for use in v.uses())
        found[node] = tuple(dict.fromkeys(name for item in readers for name in found.get(item, ())))
    return found


def _makers(program: Program) -> dict[str, _Old]:
    """By tensor, the node that made it."""
    free = extract.duplicable_nodes(program)
    found = {}
    for index, node in enumerate(program.nodes):
        reads = tuple(v.name or "" for v in node.inputs if v is not None)
        constant = node in free and node.op_type != "DequantizeLinear"
        item = _Old(index, rewriting.origin(node), reads, constant)
        found.update({v.name or "": item for v in node.outputs})
    return found


def _between(outputs: list[str], makers: dict[str, _Old], kept: set[str]) -> tuple[str, ...]:
    """Origins of the old nodes that made these tensors from others that are kept; constants left out."""
    stack = list(outputs)
    seen: set[str] = set()
    found: dict[_Old, None] = {}
    while stack:
        name = stack.pop()
        maker = makers.get(name)
        if maker is None or maker.constant or name in seen or (name in kept and name not in outputs):
            continue
        seen.add(name)
        found[maker] = None
        stack.extend(maker.reads)
    ordered = sorted(found, key=lambda item: item.index)
    return tuple(dict.fromkeys(name for item in ordered for name in item.origin))
