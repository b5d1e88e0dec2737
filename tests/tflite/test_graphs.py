"""Small networks of any operators: what passes do between operators, against ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from onnx import helper

from edgecut.ir import sessions
from edgecut.ir.errors import EdgecutError
from edgecut.ir.extract import named_cut
from edgecut.targets import tflite

Array = np.ndarray[Any, Any]
Draw = Callable[[Any], Any]
Shape = tuple[int, ...]
MOST = 1 << 15
"""Elements of the largest tensors."""
EXAMPLES = int(os.environ.get("EXAMPLES", "60"))


class Graph:
    """Grows a network node by node; ``pool`` holds its tensors, all of one type, and their shapes."""

    def __init__(self, draw: Draw, dtype: str = "float32") -> None:
        self.draw, self.dtype = draw, dtype
        self.random = np.random.default_rng(draw(st.integers(0, 999)))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        rank = draw(st.sampled_from([2, 3, 4, 4, 4, 5]))
        self.inputs = {"x": self.dims(rank)}
        if draw(st.booleans()):
            self.inputs["z"] = self.inputs["x"] if draw(st.booleans()) else self.dims(rank)
        self.pool: dict[str, Shape] = dict(self.inputs)

    def dims(self, rank: int) -> Shape:
        batch = self.draw(st.sampled_from([1, 1, 2]))
        return (batch, *(self.draw(st.sampled_from([1, 2, 3, 4, 6, 8][: 9 - rank])) for _ in range(rank - 1)))

    def pick(self, low: int = 0, high: int = 6) -> tuple[str, Shape] | None:
        """A tensor of such a rank, most often one of the last."""
        fitting = [(n, s) for n, s in self.pool.items() if low <= len(s) <= high]
        if not fitting:
            return None
        back: int = min(self.draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3, 9])), len(fitting) - 1)
        return fitting[-1 - back]

    def along(self) -> tuple[str, Shape, int] | None:
        """A tensor, its shape, and one of its axes."""
        found = self.pick(1, 5)
        return None if found is None else (*found, self.number(0, len(found[1]) - 1))

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def numbers(self, *shape: int) -> Array:
        made = self.random.normal(size=shape) * (1 if self.dtype == "float32" else 4)
        return np.asarray(made).astype(self.dtype)

    def floats(self, *shape: int) -> str:
        return self.constant(self.numbers(*shape))

    def kinds(self, whole: int) -> int | None:
        """How many of the kinds in a list to draw from: those that also integers have come first."""
        return None if self.dtype == "float32" else whole

    def whole(self, values: Any) -> str:
        return self.constant(np.array(values, "i8"))

    def add(self, kind: str, inputs: list[str], shapes: list[Shape], **attributes: Any) -> list[str]:
        """Add a node whose results have these shapes."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(shapes))]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        self.pool |= dict(zip(names, shapes, strict=True))
        return names

    def size(self, shape: Shape) -> int:
        return int(np.prod(shape))


Step = Callable[[Graph], None]


def convolution(g: Graph) -> None:
    found = g.pick(3, 5)
    if found is None:
        return
    x, (n, c, *size) = found
    kernel = [g.number(1, min(3, s)) for s in size]
    stride = [g.number(1, 2) for _ in size]
    pads = [g.number(0, k // 2 + 0) for k in kernel * 2]
    group = g.draw(st.sampled_from([d for d in range(1, c + 1) if c % d == 0]))
    out = group * g.number(1, 3)
    spatial = [
        (s + pads[i] + pads[i + len(size)] - k) // t + 1
        for i, (s, k, t) in enumerate(zip(size, kernel, stride, strict=True))
    ]
    inputs = [x, g.floats(out, c // group, *kernel)]
    inputs += [g.floats(out)] if g.draw(st.booleans()) else []
    g.add("Conv", inputs, [(n, out, *spatial)], group=group, strides=stride, pads=pads)


def transposed(g: Graph) -> None:
    found = g.pick(3, 4)
    if found is None:
        return
    x, (n, c, *size) = found
    kernel, stride, out = g.number(1, 3), g.number(1, 2), g.number(1, 3)
    if max(size) > 12:
        return
    spatial = [(s - 1) * stride + kernel for s in size]
    attributes = {"strides": [stride] * len(size), "kernel_shape": [kernel] * len(size)}
    inputs = [x, g.floats(c, out, *attributes["kernel_shape"]), g.floats(out)]
    g.add("ConvTranspose", inputs, [(n, out, *spatial)], **attributes)


def pool(g: Graph) -> None:
    found = g.pick(3, 5)
    if found is None:
        return
    x, (n, c, *size) = found
    kind = g.draw(st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]))
    if kind[0] == "G":
        g.add(kind, [x], [(n, c, *[1] * len(size))])
        return
    kernel = [g.number(1, min(3, s)) for s in size]
    stride = [g.number(1, 2) for _ in size]
    pads = [g.number(0, k // 2) for k in kernel * 2]
    spatial = [
        (s + pads[i] + pads[i + len(size)] - k) // t + 1
        for i, (s, k, t) in enumerate(zip(size, kernel, stride, strict=True))
    ]
    extra = {"count_include_pad": g.number(0, 1)} if kind[0] == "A" else {}
    g.add(kind, [x], [(n, c, *spatial)], kernel_shape=kernel, strides=stride, pads=pads, **extra)


FUNCTIONS = (
    "Relu", "Relu", "Relu6", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Elu", "Neg", "Abs",
    "Softplus", "Erf", "Gelu", "Identity", "Mish", "HardSigmoid", "Sin", "PRelu", "Clip",
)  # fmt: skip


def function(g: Graph) -> None:
    x, shape = g.pick() or ("x", g.inputs["x"])
    kind = g.draw(st.sampled_from(FUNCTIONS))
    if kind == "Relu6":
        g.add("Clip", [x, g.constant(np.float32(0)), g.constant(np.float32(6))], [shape])
    elif kind == "Clip":
        g.add("Clip", [x, "", g.constant(np.float32(1.5))], [shape])
    elif kind == "PRelu":
        along = [1, shape[1], *[1] * (len(shape) - 2)][1:] if len(shape) > 1 else [1]
        g.add(kind, [x, g.floats(*along)], [shape])
    else:
        g.add(kind, [x], [shape])


def arithmetic(g: Graph) -> None:
    x, shape = g.pick() or ("x", g.inputs["x"])
    kind = g.draw(st.sampled_from(["Add", "Add", "Sub", "Mul", "Mul", "Max", "Min"]))
    how = g.draw(st.sampled_from(["tensor", "tensor", "scalar", "channel", "last", "any", "itself"]))
    other = x
    if how == "tensor":
        fitting = [n for n, s in g.pool.items() if _broadcast(shape, s) is not None]
        other = g.draw(st.sampled_from(fitting))
    elif how == "scalar":
        other = g.floats()
    elif how == "channel" and len(shape) > 1:
        other = g.floats(shape[1], *[1] * (len(shape) - 2))
    elif how == "last" and shape:
        other = g.floats(shape[-1])
    elif how == "any":
        other = g.floats(*(n if g.draw(st.booleans()) else 1 for n in shape))
    sizes = g.pool.get(other, g.constants[other].shape if other in g.constants else ())
    out = _broadcast(shape, sizes)
    assert out is not None
    pair = [x, other] if g.draw(st.booleans()) else [other, x]
    g.add(kind, pair, [out])


def _broadcast(one: Shape, two: Shape) -> Shape | None:
    try:
        out = np.broadcast_shapes(one, two)
    except ValueError:
        return None
    return out if len(out) <= 5 and np.prod(out) <= MOST else None


def quotient(g: Graph) -> None:
    x, shape = g.pick() or ("x", g.inputs["x"])
    how = g.number(0, 2)
    if how == 0:
        g.add("Div", [x, g.constant(np.float32(g.random.choice([2.0, 6.0, -0.5])))], [shape])
        return
    (square,) = g.add("Mul", [x, x], [shape])
    (above,) = g.add("Add", [square, g.constant(np.float32(0.5))], [shape])
    if how == 1:
        g.add("Div", [x, above], [shape])
    else:
        (root,) = g.add("Sqrt", [above], [shape])
        g.add("Div", [x, root], [shape])


def turn(g: Graph) -> None:
    found = g.pick(2, 5)
    if found is None:
        return
    x, shape = found
    usual: dict[int, list[Shape]] = {
        3: [(0, 2, 1)],
        4: [(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2), (0, 2, 1, 3)],
        5: [(0, 2, 1, 3, 4)],
    }
    perm = g.draw(st.sampled_from(usual.get(len(shape), [(1, 0)])))
    if g.number(0, 3) == 0:
        perm = tuple(g.draw(st.permutations(range(len(shape)))))
    g.add("Transpose", [x], [tuple(shape[p] for p in perm)], perm=list(perm))


def reshape(g: Graph) -> None:
    x, shape = g.pick() or ("x", g.inputs["x"])
    how = g.draw(st.sampled_from(["split", "join", "flatten", "squeeze", "unsqueeze", "any"]))
    new: list[int] = list(shape)
    if how == "split" and 0 < len(shape) < 5:
        at = g.number(0, len(shape) - 1)
        d = g.draw(st.sampled_from([d for d in range(1, shape[at] + 1) if shape[at] % d == 0]))
        new[at : at + 1] = [d, shape[at] // d]
    elif how == "join" and len(shape) > 1:
        at = g.number(0, len(shape) - 2)
        new[at : at + 2] = [shape[at] * shape[at + 1]]
    elif how == "flatten" and shape:
        at = g.number(0, len(shape))
        g.add("Flatten", [x], [(g.size(shape[:at]), g.size(shape[at:]))], axis=at)
        return
    elif how == "squeeze" and 1 in shape:
        at = shape.index(1)
        g.add("Squeeze", [x, g.whole([at])], [shape[:at] + shape[at + 1 :]])
        return
    elif how == "unsqueeze" and len(shape) < 5:
        at = g.number(0, len(shape))
        g.add("Unsqueeze", [x, g.whole([at])], [(*shape[:at], 1, *shape[at:])])
        return
    elif how == "any":
        left, new = g.size(shape), []
        for _ in range(g.number(0, 3)):
            new.append(g.draw(st.sampled_from([d for d in range(1, left + 1) if left % d == 0])))
            left //= new[-1]
        new.append(left)
    g.add("Reshape", [x, g.whole(new)], [tuple(new)])


def join(g: Graph) -> None:
    found = g.along()
    if found is None:
        return
    x, shape, at = found
    fitting = [
        n for n, s in g.pool.items()
        if len(s) == len(shape) and s[:at] + s[at + 1 :] == shape[:at] + shape[at + 1 :]
    ]  # fmt: skip
    others = g.draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3))
    if g.number(0, 4) == 0:
        others.append(g.floats(*shape))
        g.pool[others[-1]] = shape
    parts = g.draw(st.permutations([x, *others]))
    out = list(shape)
    out[at] = sum(g.pool[p][at] for p in parts)
    for name in others:
        if name in g.constants:
            del g.pool[name]
    g.add("Concat", list(parts), [tuple(out)], axis=at)


def divide(g: Graph) -> None:
    found = g.along()
    if found is None:
        return
    x, shape, at = found
    if shape[at] < 2:
        return
    cut = g.draw(st.sampled_from([shape[at] // 2, g.number(1, shape[at] - 1)]))
    sizes = [cut, shape[at] - cut]
    shapes = [(*shape[:at], n, *shape[at + 1 :]) for n in sizes]
    g.add("Split", [x, g.whole(sizes)], shapes, axis=at)


def piece(g: Graph) -> None:
    found = g.along()
    if found is None:
        return
    x, shape, at = found
    n = shape[at]
    start, step = g.number(0, n - 1), g.draw(st.sampled_from([1, 1, 2, -1]))
    end = g.number(start + 1, n) if step > 0 else -n - 1
    count = len(range(*slice(start, end, step).indices(n)))
    ends = [g.whole([start]), g.whole([end]), g.whole([at]), g.whole([step])]
    g.add("Slice", [x, *ends], [(*shape[:at], count, *shape[at + 1 :])])


def pad(g: Graph) -> None:
    found = g.pick(1, 5)
    if found is None:
        return
    x, shape = found
    mode = g.draw(st.sampled_from(["constant", "constant", "reflect", "edge"]))
    most = [min(2, n - 1) if mode == "reflect" else 2 for n in shape]
    spatial = range(2, len(shape)) if len(shape) > 2 and g.draw(st.booleans()) else range(len(shape))
    low, high = ([g.number(0, m) if i in spatial else 0 for i, m in enumerate(most)] for _ in "ab")
    inputs = [x, g.whole(low + high)]
    if mode == "constant" and g.draw(st.booleans()):
        inputs.append(g.constant(np.array(g.draw(st.sampled_from([0, -1])), g.dtype)))
    out = tuple(a + n + b for a, n, b in zip(low, shape, high, strict=True))
    if g.size(out) <= MOST:
        g.add("Pad", inputs, [out], mode=mode)


def reduce(g: Graph) -> None:
    found = g.pick(1, 5)
    if found is None:
        return
    x, shape = found
    axes = sorted(g.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=2)))
    keep, kind = (
        g.number(0, 1),
        g.draw(st.sampled_from(["Sum", "Max", "Mean", "L2", "LogSumExp"][: g.kinds(2)])),
    )
    out = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
    g.add(f"Reduce{kind}", [x, g.whole(axes)], [out], keepdims=keep)


def normalize(g: Graph) -> None:
    found = g.pick(2, 5)
    if found is None:
        return
    x, shape = found
    kind = g.draw(
        st.sampled_from(["Softmax", "LayerNormalization", "InstanceNormalization", "BatchNormalization"])
    )
    # A large epsilon: nearly equal numbers would be told apart by their rounding.
    if kind == "Softmax":
        g.add(kind, [x], [shape], axis=g.number(0, len(shape) - 1))
    elif kind == "LayerNormalization":
        at = g.number(1, len(shape) - 1)
        g.add(kind, [x, g.floats(*shape[at:]), g.floats(*shape[at:])], [shape], axis=at, epsilon=0.1)
    elif kind == "InstanceNormalization" and len(shape) > 2:
        g.add(kind, [x, g.floats(shape[1]), g.floats(shape[1])], [shape], epsilon=0.1)
    elif kind == "BatchNormalization":
        vectors = [g.floats(shape[1]) for _ in range(3)]
        g.add(
            kind,
            [x, *vectors, g.constant(np.abs(g.random.normal(size=shape[1])).astype("f4") + 0.5)],
            [shape],
        )


def product(g: Graph) -> None:
    found = g.pick(1, 4)
    if found is None:
        return
    x, shape = found
    out, k = g.number(1, 6), shape[-1]
    how = g.draw(st.sampled_from(["constant", "constant", "gemm", "other", "batch"]))
    if how == "gemm" and len(shape) == 2:
        wide, side = g.number(0, 1), g.number(0, 1)
        inner = shape[0] if side else k
        weights = g.floats(*((out, inner) if wide else (inner, out)))
        first = shape[1] if side else shape[0]
        g.add("Gemm", [x, weights, g.floats(out)], [(first, out)], transA=side, transB=wide)
        return
    if how == "batch" and len(shape) > 2:
        g.add("MatMul", [x, g.floats(*shape[:-2], k, out)], [(*shape[:-1], out)])
        return
    if how == "other":
        fitting = [
            (n, s) for n, s in g.pool.items()
            if len(s) == len(shape) > 1 and s[-2] == k and s[:-2] == shape[:-2]
        ]  # fmt: skip
        if fitting:
            other, s = g.draw(st.sampled_from(fitting))
            g.add("MatMul", [x, other], [(*shape[:-1], s[-1])])
        elif len(shape) > 1:
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            (turned,) = g.add("Transpose", [x], [tuple(shape[p] for p in perm)], perm=perm)
            g.add("MatMul", [x, turned], [(*shape[:-1], shape[-2])])
        return
    g.add("MatMul", [x, g.floats(k, out)], [(*shape[:-1], out)])


def resize(g: Graph) -> None:
    found = g.pick(4, 4)
    if found is None:
        return
    x, (n, c, h, w) = found
    out = (n, c, h * g.number(1, 2), w * g.number(1, 2))
    mode = g.draw(st.sampled_from(["nearest", "linear"]))
    coordinates = (
        "asymmetric" if mode == "nearest" else g.draw(st.sampled_from(["half_pixel", "align_corners"]))
    )
    more = {"nearest_mode": "floor"} if mode == "nearest" else {}
    if g.size(out) <= MOST:
        inputs = [x, "", "", g.whole(out)]
        g.add("Resize", inputs, [out], mode=mode, coordinate_transformation_mode=coordinates, **more)


def pick(g: Graph) -> None:
    found = g.along()
    if found is None:
        return
    x, shape, at = found
    indices = g.draw(st.lists(st.integers(-shape[at], shape[at] - 1), min_size=1, max_size=5))
    if g.draw(st.booleans()):
        g.add("Gather", [x, g.constant(np.array(indices[0], "i8"))], [shape[:at] + shape[at + 1 :]], axis=at)
    else:
        g.add("Gather", [x, g.whole(indices)], [(*shape[:at], len(indices), *shape[at + 1 :])], axis=at)


def blocks(g: Graph) -> None:
    found = g.pick(4, 4)
    if found is None:
        return
    x, (n, c, h, w) = found
    if c % 4 == 0:
        mode = g.draw(st.sampled_from(["DCR", "CRD"]))
        g.add("DepthToSpace", [x], [(n, c // 4, 2 * h, 2 * w)], blocksize=2, mode=mode)
    elif h % 2 == w % 2 == 0:
        g.add("SpaceToDepth", [x], [(n, 4 * c, h // 2, w // 2)], blocksize=2)


def repeat(g: Graph) -> None:
    found = g.pick(1, 4)
    if found is None:
        return
    x, shape = found
    if g.draw(st.booleans()):
        times = [g.number(1, 2) for _ in shape]
        out = tuple(n * t for n, t in zip(shape, times, strict=True))
        if g.size(out) <= MOST:
            g.add("Tile", [x, g.whole(times)], [out])
        return
    out = tuple(n if n > 1 else g.number(1, 3) for n in shape)
    g.add("Expand", [x, g.whole(out)], [out])


def shuffle(g: Graph) -> None:
    found = g.pick(4, 4)
    if found is None:
        return
    x, (n, c, h, w) = found
    groups = [d for d in range(2, c) if c % d == 0]
    if not groups:
        return
    d = g.draw(st.sampled_from(groups))
    (apart,) = g.add("Reshape", [x, g.whole([n, d, c // d, h, w])], [(n, d, c // d, h, w)])
    (turned,) = g.add("Transpose", [apart], [(n, c // d, d, h, w)], perm=[0, 2, 1, 3, 4])
    g.add("Reshape", [turned, g.whole([n, c, h, w])], [(n, c, h, w)])


def choose(g: Graph) -> None:
    """A mask that is known, so that rounding does not choose."""
    x, shape = g.pick() or ("x", g.inputs["x"])
    if len(shape) > 5:
        return
    mask = g.constant(g.random.random([n if g.draw(st.booleans()) else 1 for n in shape]) < 0.5)
    fitting = [n for n, s in g.pool.items() if s == shape]
    g.add("Where", [mask, x, g.draw(st.sampled_from(fitting))], [shape])


def bits(g: Graph) -> None:
    x, shape = g.pick() or ("x", g.inputs["x"])
    fitting = [n for n, s in g.pool.items() if _broadcast(shape, s) is not None and len(s) <= len(shape)]
    other = g.draw(st.sampled_from(fitting))
    kind = g.draw(st.sampled_from(["BitwiseAnd", "BitwiseOr", "BitwiseXor"]))
    g.add(kind, [x, other], [np.broadcast_shapes(shape, g.pool[other])])


STEPS: tuple[Step, ...] = (
    convolution, convolution, transposed, pool, function, function, arithmetic, arithmetic, quotient,
    turn, turn, reshape, reshape, join, divide, piece, pad, reduce, normalize, product, resize, pick,
    blocks, repeat, shuffle, choose,
)  # fmt: skip


WHOLE: tuple[Step, ...] = (
    arithmetic, arithmetic, arithmetic, turn, reshape, reshape, reshape, join, divide, piece, pad,
    reduce, pick, repeat, choose, bits, bits,
)  # fmt: skip
"""Those that integers have."""


def grown(draw: Draw, steps: tuple[Step, ...] = STEPS, dtype: str = "float32") -> Graph:
    g = Graph(draw, dtype)
    for step in draw(st.lists(st.sampled_from(steps), min_size=3, max_size=12)):
        step(g)
    if not g.nodes:
        g.add("Abs", ["x"], [g.inputs["x"]])
    return g


def built(
    g: Graph, build: Any, outputs: list[str], nodes: list[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(g.dtype))
    inputs = {name: (list(shape), kind) for name, shape in g.inputs.items()}
    made: onnx.ModelProto = build(nodes or g.nodes, inputs, outputs, g.constants, 20)
    note(onnx.printer.to_text(made.graph))
    return made


def every_value(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime computes for every output."""
    options = sessions.options(optimize=False, quiet=True)
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [o.name for o in model.graph.output]
    return dict(zip(names, session.run(None, inputs), strict=True))


anything = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@anything
@given(data=st.data())
def test_any_network(tester: Any, model: Any, data: Any) -> None:
    _check(tester, model, data.draw, grown(data.draw))


@anything
@given(data=st.data())
def test_any_network_of_integers(tester: Any, model: Any, data: Any) -> None:
    dtype = data.draw(st.sampled_from(["int32", "int32", "int64"]))
    steps = WHOLE if dtype == "int32" else tuple(s for s in WHOLE if s is not bits)
    _check(tester, model, data.draw, grown(data.draw, steps, dtype))


def _check(tester: Any, model: Any, draw: Draw, g: Graph) -> None:
    inputs = {n: g.numbers(*s) for n, s in g.inputs.items()}
    names = [n for node in g.nodes for n in node.output]
    expected = every_value(built(g, model, names), inputs)
    outputs = list(dict.fromkeys([*draw(st.lists(st.sampled_from(names), max_size=2)), names[-1]]))
    test = tester(built(g, model, outputs))
    assert test.reasons() == {}
    # Rounding is relative to the largest numbers on the way, and differs with the order of sums.
    largest = max(float(np.abs(v).max(initial=0.0)) for v in (*expected.values(), *inputs.values()))
    limits = (1e-4, 1e-5 * largest + 1e-5) if g.dtype == "float32" else (0.0, 0.0)
    made = test.lower().run(inputs)
    for name in outputs:
        assert made[name].shape == expected[name].shape
        np.testing.assert_allclose(made[name], expected[name], *limits)
    _check_cut(test, draw(st.sampled_from(names)), inputs, expected, limits)


def _check_cut(
    test: Any, at: str, inputs: dict[str, Array], expected: dict[str, Array], limits: tuple[float, float]
) -> None:
    """What crosses a cut is the tensor itself, in the order of dimensions that the file says."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        cut = named_cut(test.program, at)
    except EdgecutError:  # no cut goes through it
        return
    emitted = tflite.emit(test.program, [cut, named_cut(test.program, "edge-only")])
    if 0 not in emitted.signatures:
        return
    runner = Interpreter(model_content=emitted.data, num_threads=1).get_signature_runner("cut0")
    made = runner(**{n: inputs[n] for n in runner.get_input_details()})
    for name in cut.crossing:
        if name in made:
            value = expected[name].transpose(emitted.wire[name].perm or range(expected[name].ndim))
            np.testing.assert_allclose(made[name], value, *limits)


MOVES = (
    "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Split", "Slice", "Gather", "Tile", "Expand",
    "MaxPool", "Identity",
)  # fmt: skip
"""Operators that ONNX Runtime has for integers of 8 bits."""
WEIGHTS = {"Conv": (1, 0), "MatMul": (1, -1), "Gemm": (1, 0)}
"""Which input of an operator is its weights, and which axis of them counts its outputs."""


def quantized(
    g: Graph, expected: dict[str, Array], inputs: dict[str, Array]
) -> tuple[list[Any], dict[str, float]]:
    """The same network with QDQ pairs around most of its tensors, and the steps of those that have some."""
    nodes: list[onnx.NodeProto] = []
    held: dict[str, str] = {}
    grids: dict[str, list[str]] = {}
    steps: dict[str, float] = {}

    def pair(name: str, numbers: Array) -> None:
        low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
        if g.number(0, 1):
            high, low = max(high, -low), -max(high, -low)
        scale = np.float32((high - low) / 255 or 1.0)
        zero = np.int8(np.clip(np.rint(-128 - low / scale), -128, 127))
        kept = [g.constant(scale), g.constant(zero)]
        nodes.append(helper.make_node("QuantizeLinear", [name, *kept], [f"{name}_q"], f"{name}_q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *kept], [f"{name}_d"], f"{name}_d"))
        held[name], steps[name], grids[name] = f"{name}_d", float(scale), kept

    def moved(node: onnx.NodeProto) -> None:
        """The integers themselves, on the grid that they have, as ONNX Runtime's optimizer leaves them."""
        results = [f"{name}_q" for name in node.output]
        copy = helper.make_node(node.op_type, [f"{node.input[0]}_q", *node.input[1:]], results, node.name)
        copy.attribute.extend(node.attribute)
        nodes.append(copy)
        for name in node.output:
            grids[name] = grids[node.input[0]]
            nodes.append(
                helper.make_node("DequantizeLinear", [f"{name}_q", *grids[name]], [name], f"{name}_n")
            )
            held[name], steps[name] = name, steps[node.input[0]]

    for name, numbers in inputs.items():
        pair(name, numbers)
    for node in g.nodes:
        if node.op_type in MOVES and node.input[0] in steps and g.number(0, 1):
            moved(node)
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        read = [held.get(n, n) for n in node.input]
        at, axis = WEIGHTS.get(node.op_type, (len(read), 0))
        if (
            at < len(read)
            and node.input[at] in g.constants
            and g.constants[node.input[at]].ndim
            == 2 + (node.op_type == "Conv") * (g.constants[node.input[at]].ndim - 2)
        ):
            read[at] = _weights(g, nodes, node, at, axis)
        del copy.input[:]
        copy.input.extend(read)
        nodes.append(copy)
        for name in node.output:
            if g.number(0, 9):
                pair(name, expected[name])
    return nodes, steps


def _weights(g: Graph, nodes: list[onnx.NodeProto], node: onnx.NodeProto, at: int, axis: int) -> str:
    """A dequantized constant of 8 bits, with one scale for each output or for all."""
    numbers, name = g.constants[node.input[at]], f"{node.name}_w"
    if node.op_type == "Gemm" and not next(a.i for a in node.attribute if a.name == "transB"):
        axis = 1
    others = tuple(i for i in range(numbers.ndim) if i != axis % numbers.ndim)
    sizes = np.abs(numbers).max(others) if g.number(0, 1) else np.abs(numbers).max()
    scale = np.asarray(np.maximum(sizes, 1e-3) / 127, "f4")
    along = (
        scale.reshape([-1 if i == axis % numbers.ndim else 1 for i in range(numbers.ndim)])
        if scale.ndim
        else scale
    )
    stored = g.constant(np.rint(numbers / along).astype("i1"))
    inputs = [stored, g.constant(scale), g.constant(np.zeros(scale.shape, "i1"))]
    nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name, axis=axis % numbers.ndim))
    return name


@anything
@given(data=st.data())
def test_any_quantized_network(tester: Any, model: Any, data: Any) -> None:
    g = grown(data.draw)
    inputs = {n: g.numbers(*s) for n, s in g.inputs.items()}
    names = [n for node in g.nodes for n in node.output]
    real = every_value(built(g, model, names), inputs)
    nodes, steps = quantized(g, real, inputs)
    made_by = {name for node in nodes for name in node.output}
    last = f"{names[-1]}_d" if f"{names[-1]}_d" in made_by else names[-1]
    outputs = list(dict.fromkeys([*data.draw(st.lists(st.sampled_from(names), max_size=1)), last]))
    graph = built(g, model, outputs, nodes)
    expected = every_value(graph, inputs)
    test = tester(graph)
    assert test.reasons() == {}
    made = test.lower().run(inputs)
    for name in outputs:
        # A rounding at a tie goes either way, and grows to some steps further on; a wrong grid, order or
        # kernel shows in most of the numbers, by most of their size.
        plain = name.removesuffix("_d")
        step = steps.get(plain) or float(np.abs(real[plain]).max()) / 127
        apart = np.abs(made[name] - expected[name]) > 10 * step
        assert apart.sum() <= max(1, apart.size // 20), (name, made[name], expected[name])
