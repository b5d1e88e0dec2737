"""Channel shuffles between convolutions vanish into their weights, and every value can still be cut at."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edgecut.ir.extract import named_cut
from edgecut.ir.program import Program
from edgecut.passes.quantize import integers
from edgecut.targets import tflite
from edgecut.targets.tflite import inspect, shuffles, verify

Array = np.ndarray[Any, Any]


class Network:
    """Grows a network node by node, from x of [1, 3, 9, 9]."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}", **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, size: int = 1, group: int = 1, **attributes: Any
    ) -> str:
        shape = (outputs, inputs // group, size, size)
        weights = self.constant((self.random.normal(size=shape) / np.sqrt(inputs / group)).astype("f4"))
        bias = self.constant(self.random.normal(size=outputs).astype("f4"))
        pads = [size // 2] * 4
        made: str = self.add("Conv", x, weights, bias, group=group, pads=pads, **attributes)
        return made

    def shuffle(self, x: str, channels: int, groups: int, size: int) -> str:
        apart = self.constant(np.array([1, groups, channels // groups, size, size]))
        turned = self.add("Transpose", self.add("Reshape", x, apart), perm=[0, 2, 1, 3, 4])
        joined: str = self.add("Reshape", turned, self.constant(np.array([1, channels, size, size])))
        return joined

    def model(self, build: Any, outputs: list[str]) -> onnx.ModelProto:
        made: onnx.ModelProto = build(self.nodes, {"x": [1, 3, 9, 9]}, outputs, self.constants)
        return made


def units(net: Network, half: int, count: int, groups: int = 2) -> str:
    """ShuffleNetV2: half passes, half is convolved, both are joined and shuffled."""
    left, right, joined = net.conv("x", 3, half), net.conv("x", 3, half), ""
    for i in range(count):
        if i:
            left, right = net.add("Split", joined, net.constant(np.array([half, half])), outputs=2, axis=1)
        convolved = net.add(
            "Relu", net.conv(net.conv(net.conv(right, half, half), half, half, 3, half), half, half)
        )
        joined = net.shuffle(net.add("Concat", left, convolved, axis=1), 2 * half, groups, 9)
    return joined


@pytest.mark.parametrize(
    ("half", "count", "groups"), [(4, 1, 2), (4, 4, 2), (6, 3, 3), (5, 3, 2), (58, 8, 2)]
)
def test_units_have_no_transpose(tester: Any, model: Any, half: int, count: int, groups: int) -> None:
    net = Network(half)
    joined = units(net, half, count, groups)
    # A whole tensor read twice: by a padded depthwise convolution with a stride, and by another convolution.
    down = net.conv(net.conv(joined, 2 * half, 2 * half, 3, 2 * half, strides=[2, 2]), 2 * half, 7)
    other = net.add("MaxPool", net.conv(joined, 2 * half, 7), kernel_shape=[1, 1], strides=[2, 2])
    y = net.add("GlobalAveragePool", net.add("Add", down, other))
    test = tester(net.model(model, [y])).lower()
    # One at the input, where channels are not last.
    test.count("TRANSPOSE", 1).count("GATHER", 0).compare()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_channels_moved_in_any_way(tester: Any, model: Any, data: Any) -> None:
    """Splits at any place, unequal parts, tensors read twice, and readers that need the channels in order."""
    net = Network(data.draw(st.integers(0, 99)))
    pool = [
        (net.conv("x", 3, 2 * n), 2 * n)
        for n in data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    ]
    for _ in range(data.draw(st.integers(1, 5))):
        pool = data.draw(st.permutations(pool))
        (left, some), (right, more) = pool[0], pool[1]
        x, channels = net.add("Concat", left, right, axis=1), some + more
        groups = [g for g in range(2, channels) if channels % g == 0]
        if groups:
            x = net.shuffle(x, channels, data.draw(st.sampled_from(groups)), 9)
        at = data.draw(st.integers(1, channels - 1))
        first, second = net.add("Split", x, net.constant(np.array([at, channels - at])), outputs=2, axis=1)
        parts = [(first, at), (second, channels - at)]
        kind = data.draw(st.sampled_from(["", "conv", "conv", "depthwise", "whole", "twice"]))
        if kind == "conv":
            parts[0] = net.conv(first, at, 4), 4
        elif kind == "depthwise":
            parts[0] = net.conv(net.conv(first, at, at, 3, at), at, 5), 5
        elif kind == "whole":
            parts = [(x, channels)]
        elif kind == "twice":
            parts.append((net.conv(x, channels, 3), 3))
        pool = [*parts, *pool[2:]] if len(parts) + len(pool) > 3 else [*parts, (net.conv("x", 3, 2), 2)]
    outputs = [net.conv(x, channels, 3) for x, channels in pool]
    if data.draw(st.integers(0, 5)) == 0:  # its channels have to be in order
        outputs.append(net.add("ReduceMean", data.draw(st.sampled_from(pool))[0], axes=[2, 3]))
    tester(net.model(model, outputs)).lower().compare()


def test_a_cut_at_any_value_gives_its_channels_in_order(model: Any) -> None:
    net = Network(0)
    joined = units(net, 6, 3)
    program = Program.from_proto(
        onnx.shape_inference.infer_shapes(net.model(model, [net.conv(joined, 12, 5)]))
    )
    names = [v.name or "" for n in program.nodes for v in n.outputs]
    proto = program.proto()
    proto.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names[:-1])
    inputs = verify.noise(program)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    from ai_edge_litert.interpreter import Interpreter

    cuts = []
    for name in names[:-1]:
        try:
            cuts.append(named_cut(program, name))
        except Exception:  # one of two tensors between the halves is no cut
            continue
    assert len(cuts) >= 6
    emitted = tflite.emit(program, [*cuts, named_cut(program, "edge-only")])
    alone = tflite.emit(program, [named_cut(program, "edge-only")])
    weights = sum(v.const_value.nbytes for v in program.graph.initializers.values() if v.const_value)
    assert weights < len(alone.data) < len(emitted.data)
    for index, cut in enumerate(cuts):
        runner = Interpreter(model_content=emitted.data, num_threads=1).get_signature_runner(f"cut{index}")
        made = runner(**{n: inputs[n] for n in runner.get_input_details()})
        for name in cut.crossing:
            perm = emitted.wire[name].perm or range(expected[name].ndim)
            # Channels in the wrong order would be off by the size of the numbers; rounding is 1e-6 of it.
            np.testing.assert_allclose(made[name], expected[name].transpose(perm), rtol=1e-4, atol=1e-4)


@pytest.fixture
def mixed(model: Any) -> Program:
    """Units of a ShuffleNet on integers, but for the depthwise convolutions, one of which reads a shuffle."""
    net = Network(1)
    joined = units(net, 6, 4)
    down = net.conv(net.conv(joined, 12, 12, 3, 12, strides=[2, 2]), 12, 7)
    proto = net.model(model, [net.add("GlobalAveragePool", net.add("Relu", down))])
    program = Program.from_proto(onnx.shape_inference.infer_shapes(proto))
    samples = [{"x": np.random.default_rng(i).normal(size=(1, 3, 9, 9)).astype("f4")} for i in range(4)]
    grouped = [n for n in program.nodes if n.op_type == "Conv" and n.attributes["group"].as_int() > 1]
    wide = frozenset(n.name or "" for n in grouped)
    return integers.calibrated(program, samples, "minmax").quantized(wide)


def test_shuffles_are_absorbed_between_precisions(mixed: Program) -> None:
    cut = named_cut(mixed, "edge-only")
    kinds = inspect.operators(tflite.emit(mixed, [cut]).data)
    assert kinds["DEQUANTIZE"] > 4
    assert kinds["DEPTHWISE_CONV_2D"] == 5
    assert kinds["TRANSPOSE"] == 1  # of the input
    checks = list(verify.groups(mixed, cut, verify.noise(mixed)))
    assert all(check.ok for check in checks)
    assert len({check.nodes for check in checks}) > 15  # each by itself, though most run as one


def test_a_wrong_order_of_channels_is_seen_between_precisions(
    mixed: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group is judged by what those before it gave, though the file runs them as one."""
    right = shuffles._taken
    monkeypatch.setattr(
        shuffles,
        "_taken",
        lambda t, i, axis: right(t, i[::-1] if axis == 3 and t.shape[3] == 12 else i, axis),
    )
    checks = verify.groups(mixed, named_cut(mixed, "edge-only"), verify.noise(mixed))
    assert not all(check.ok for check in checks)
