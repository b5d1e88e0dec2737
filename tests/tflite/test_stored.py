"""Weights in the file as small as in the program: sizes, numbers, and which kernels read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecut.ir.annotations import Quantization, put

RANDOM = np.random.default_rng(0)


def layers(model: Any, form: str) -> Any:
    """A convolution, a transposed and a depthwise one, and a matrix product, with weights in a form."""
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    initializers = []

    def weights(name: str, shape: tuple[int, ...], axis: int) -> str:
        if form == "float32":
            constants[name] = RANDOM.normal(size=shape).astype("f4") / 8
            return name
        if form == "float16":
            constants[name] = RANDOM.normal(size=shape).astype("f2") / np.float16(8)
            nodes.append(helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT))
            return f"{name}_f"
        most = 7 if form == "int4" else 127
        numbers = RANDOM.integers(-most, most + 1, shape)
        constants[f"{name}_scale"] = RANDOM.uniform(0.5, 1, shape[axis]).astype("f4") / (4 * most)
        kind = TensorProto.INT4 if form == "int4" else TensorProto.INT8
        initializers.append(helper.make_tensor(name, kind, shape, numbers.ravel()))
        initializers.append(helper.make_tensor(f"{name}_zero", kind, [shape[axis]], [0] * shape[axis]))
        inputs = [name, f"{name}_scale", f"{name}_zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_f"], axis=axis))
        return f"{name}_f"

    up, conv, deep, dense = (
        weights("wt", (16, 16, 2, 2), 1),
        weights("wc", (32, 16, 3, 3), 0),
        weights("wd", (32, 1, 3, 3), 0),
        weights("wm", (512, 256), 1),
    )
    nodes += [
        helper.make_node("ConvTranspose", ["x", up], ["t"], strides=[2, 2], name="up"),
        helper.make_node("Conv", ["t", conv], ["a"], pads=[1] * 4, strides=[2, 2], name="conv"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", deep], ["c"], group=32, name="deep"),
        helper.make_node("Flatten", ["c"], ["f"], name="flat"),
        helper.make_node("Slice", ["f", "zero", "many", "one"], ["s"], name="slice"),
        helper.make_node("MatMul", ["s", dense], ["y"], name="dense"),
    ]  # fmt: skip
    constants |= {"zero": np.array([0]), "many": np.array([512]), "one": np.array([1])}
    made = model(nodes, {"x": [1, 16, 6, 6]}, {"y": [1, 256]}, constants, opset=21)
    made.graph.initializer.extend(initializers)
    assert all(isinstance(numpy_helper.to_array(t), np.ndarray) for t in made.graph.initializer)
    return made


NUMBERS = 16 * 16 * 4 + 32 * 16 * 9 + 32 * 9 + 512 * 256


@pytest.mark.parametrize(("form", "share"), [("float16", 1 / 2), ("int8", 1 / 4), ("int4", 1 / 8)])
def test_float_kernels_read_small_weights(tester: Any, model: Any, form: str, share: float) -> None:
    whole = tester(layers(model, "float32")).lower()
    test = tester(layers(model, form)).lower().count("DEQUANTIZE", 4).compare()
    assert whole.emitted is not None
    assert test.emitted is not None
    # The int4 weights of the convolutions are held in 8 bits; scales and operators take the rest.
    assert (
        len(test.emitted.data) < share * 4 * NUMBERS + (NUMBERS - 512 * 256 if form == "int4" else 0) + 8192
    )
    assert len(whole.emitted.data) > 4 * NUMBERS


def test_dynamic_quantization_takes_integer_kernels_where_there_are_fast_ones(
    tester: Any, model: Any
) -> None:
    test = tester(layers(model, "int8"))
    put(test.program.model, Quantization("int8-dynamic", 0))
    test.lower().count("DEQUANTIZE", 2)  # those of the depthwise and transposed convolution, which have none
    (made,), (expected,) = test.run().values(), test.reference().values()
    # Two inputs rounded to 8 bits over their own range: each some 45 dB below it.
    noise = np.square(made - expected).mean() / np.square(expected).mean()
    assert 0 < noise < 10**-3.5


def test_a_small_constant_is_stored_as_it_is_read(tester: Any, model: Any) -> None:
    node = helper.make_node("DequantizeLinear", ["w", "s"], ["wf"])
    constants = {"w": np.arange(8, dtype="i1").reshape(4, 2), "s": np.float32(0.1)}
    graph = model([node, helper.make_node("MatMul", ["x", "wf"], ["y"])], {"x": [3, 4]}, ["y"], constants)
    tester(graph).lower().only(FULLY_CONNECTED=1).compare()
