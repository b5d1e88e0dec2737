"""What several operators compute, computed by one: activations, biases, scalings, paddings, double moves."""

from __future__ import annotations

from collections import Counter

import numpy as np

from edgecut.targets.tflite import lir, signs
from edgecut.targets.tflite.lir import Array, Graph, Op, Tensor
from edgecut.targets.tflite.ops.window import SAME, VALID

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
ACTIVATIONS = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_ROUNDING = ("QUANTIZE", "DEQUANTIZE")
_TAKE_ACTIVATION = (*WEIGHTED, "TRANSPOSE_CONV", "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D")


def run(graph: Graph) -> None:
    """Apply all rules until none changes anything."""
    lir.rewrite(graph, _any)


def _any(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    for rule in (moves, _constant_operand, _padding, _max_pool, _flat_rows, _activation, _transposed_operand,
                 _scaled_product):  # fmt: skip
        found = rule(op, uses)
        if found is not None:
            return found
    return None


def single(tensor: Tensor | None, uses: Counter[Tensor]) -> Op | None:
    """The operator that makes a tensor which is read only once."""
    return tensor.op if tensor is not None and uses[tensor] == 1 else None


def _activation(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """Activation after an operator that can apply it, perhaps with a move between."""
    if op.kind not in ACTIVATIONS:
        return None
    before = single(op.inputs[0], uses)
    if before is not None and before.kind in ("RESHAPE", "TRANSPOSE"):
        return _before_move(op, before) if _takes_activation(single(before.inputs[0], uses)) else None
    if before is None or not _takes_activation(before):
        return None
    options = {"fusedActivationFunction": ACTIVATIONS[op.kind]}
    return lir.like(before, before.inputs, options=options, sources=before.sources | op.sources).output


def _takes_activation(op: Op | None) -> bool:
    if op is None or op.kind not in _TAKE_ACTIVATION or op.options.get("fusedActivationFunction"):
        return False
    return op.output.dtype == np.float32


def _before_move(op: Op, move: Op) -> Tensor:
    x = move.inputs[0]
    assert x is not None
    made = lir.like(op, [x])
    made.output.shape = x.shape
    return lir.like(move, [made.output, *move.inputs[1:]]).output


def moves(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """Two transposes or reshapes in a row, and those that change nothing."""
    x = op.inputs[0] if op.inputs else None
    if op.kind not in ("TRANSPOSE", "RESHAPE") or x is None:
        return None
    if op.kind == "RESHAPE":
        if x.shape == op.output.shape:
            return x
        if x.op is None or x.op.kind != "RESHAPE" or x.op.inputs[0] is None:
            return None
        return lir.reshape(x.op.inputs[0], op.output.shape, op.sources)
    perm = tuple(map(int, op.constant(1)))
    if perm == tuple(range(len(perm))):
        return x
    if x.op is None or x.op.kind != "TRANSPOSE" or x.op.inputs[0] is None:
        return None
    return lir.transpose(x.op.inputs[0], lir.compose(tuple(map(int, x.op.constant(1))), perm), op.sources)


def _constant_operand(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A constant added to, or multiplied with, what a weighted operator gives, one number per channel."""
    if op.kind not in ("ADD", "SUB", "MUL") or len(op.inputs) != 2 or op.output.dtype != np.float32:
        return None
    left, right = op.inputs
    if left is not None and left.is_constant and op.kind != "SUB":
        left, right = right, left
    before = single(left, uses)
    if right is None or before is None or before.kind not in WEIGHTED or not right.is_constant:
        return None
    weights, bias = before.inputs[1], before.inputs[2]
    numbers = _per_channel(right, op.output)
    plain = weights is not None and bias is not None and weights.is_constant and bias.is_constant
    if (
        numbers is None
        or not plain
        or before.options["fusedActivationFunction"]
        or before.output.shape != op.output.shape
    ):
        return None
    assert weights is not None
    assert bias is not None
    if op.kind == "MUL":
        if weights.quant is not None:
            return None
        axis = 3 if before.kind == "DEPTHWISE_CONV_2D" else 0
        along = [-1 if i == axis else 1 for i in range(weights.rank)]
        weights = lir.constant(lir.real(weights) * numbers.reshape(along))
        bias = lir.constant(lir.real(bias) * numbers)
    else:
        bias = lir.constant(lir.real(bias) + (numbers if op.kind == "ADD" else -numbers))
    options = {"fusedActivationFunction": op.options.get("fusedActivationFunction", 0)}
    sources = before.sources | op.sources
    return lir.like(before, [before.inputs[0], weights, bias], options=options, sources=sources).output


def _per_channel(tensor: Tensor, out: Tensor) -> Array | None:
    """The numbers of a constant that is broadcast along all dimensions but the last."""
    numbers = lir.real(tensor).astype(np.float32)
    shape = (1,) * (out.rank - numbers.ndim) + numbers.shape
    if any(n != 1 for n in shape[:-1]) or numbers.ndim > out.rank:
        return None
    return np.broadcast_to(numbers.reshape(-1), (out.shape[-1],))


def _padding(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A PAD with zeros before a convolution, where SAME means the same."""
    if op.kind not in WEIGHTED[:2] or op.options["padding"] != VALID:
        return None
    pad, weights = single(op.inputs[0], uses), op.inputs[1]
    if pad is None or pad.kind != "PAD" or pad.inputs[0] is None or weights is None:
        return None
    rows, size = pad.constant(1), pad.inputs[0].shape
    if rows[0].any() or rows[3].any():
        return None
    for axis, letter in ((1, "H"), (2, "W")):
        reach = (weights.shape[axis] - 1) * op.options[f"dilation{letter}Factor"] + 1
        stride, out = op.options[f"stride{letter}"], op.output.shape[axis]
        before = max((out - 1) * stride + reach - size[axis], 0) // 2
        if out != -(-size[axis] // stride) or rows[axis][0] != before:
            return None
    sources = op.sources | pad.sources
    return lir.like(op, [pad.inputs[0], *op.inputs[1:]], options={"padding": SAME}, sources=sources).output


def _max_pool(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """Padding with the lowest number before a maximum pool: zeros do where nothing is negative.

    PAD has a fast kernel and PADV2 has none.
    """
    pad = single(op.inputs[0], uses) if op.kind == "MAX_POOL_2D" else None
    if pad is None or pad.kind != "PADV2" or pad.inputs[0] is None or not signs.non_negative(pad.inputs[0]):
        return None
    new = lir.like(pad, pad.inputs[:2], kind="PAD")
    return lir.like(op, [new.output]).output


def _flat_rows(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A reshape before a fully connected layer that only removes dimensions of one."""
    if op.kind != "FULLY_CONNECTED" or op.options["keepNumDims"]:
        return None
    x, weights = op.inputs[0], op.inputs[1]
    before = x.op if x is not None else None
    if before is None or before.kind != "RESHAPE" or before.inputs[0] is None or weights is None:
        return None
    if before.inputs[0].rank > 4:
        return None
    return lir.like(op, [before.inputs[0], *op.inputs[1:]], sources=op.sources | before.sources).output


def _transposed_operand(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A right operand whose rows and columns are exchanged first: the matrix product does that itself."""
    right = op.inputs[1] if op.kind == "BATCH_MATMUL" else None
    turn, plain, rounding = right.op if right is not None else None, True, list[Op]()
    while turn is not None and turn.kind in ("RESHAPE", *_ROUNDING) and turn.inputs[0] is not None:
        plain &= turn.kind != "RESHAPE"
        rounding += [turn] if turn.kind in _ROUNDING else []
        turn = turn.inputs[0].op
    x = turn.inputs[0] if turn is not None and turn.kind == "TRANSPOSE" else None
    if right is None or turn is None or x is None:
        return None
    solid = [p for p in map(int, turn.constant(1)) if x.shape[p] != 1]
    rows, columns = right.shape[-2:]
    one = rows * columns == np.prod(right.shape) and len(solid) == 2 and solid[0] > solid[1]
    batched = plain and [*turn.constant(1)] == [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    if not batched and not (one and x.shape[solid[0]] == rows):
        return None
    sources = op.sources | turn.sources
    matrix = lir.reshape(x, (*right.shape[:-2], columns, rows), sources)
    for each in reversed(rounding):
        copy = lir.like(each, [matrix])
        copy.output.shape = matrix.shape
        matrix = copy.output
    options = {"adjY": not op.options["adjY"]}
    return lir.like(op, [op.inputs[0], matrix], options=options, sources=sources).output


def _scaled_product(op: Op, uses: Counter[Tensor]) -> Tensor | None:
    """A number times a matrix product, as that number times the weights that make its left operand."""
    number = op.inputs[1] if op.kind in ("MUL", "DIV") else None
    product = single(op.inputs[0], uses) if number is not None else None
    if number is None or number.data is None or number.data.size != 1 or number.quant is not None:
        return None
    if product is None or product.kind != "BATCH_MATMUL" or op.options.get("fusedActivationFunction"):
        return None
    left = single(product.inputs[0], uses)
    if left is None or left.kind != "FULLY_CONNECTED" or op.output.dtype != np.float32:
        return None
    factor = float(number.data.ravel()[0])
    scale = lir.constant(np.array(factor if op.kind == "MUL" else 1.0 / factor, np.float32))
    (scaled,) = lir.emit("MUL", [left.output, scale], [left.output.shape], [np.float32], op.sources)
    uses[left.output], uses[scaled] = 1, 1
    sources = op.sources | product.sources
    return lir.like(product, [scaled, product.inputs[1]], sources=sources).output
