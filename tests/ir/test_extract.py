"""Cuts: the two halves of a program give together what the whole gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as oir
import pytest

from edgecut.ir import extract
from edgecut.ir.annotations import Cut
from edgecut.ir.errors import UsageError
from edgecut.ir.program import Program

Run = Callable[[Program, dict[str, np.ndarray]], dict[str, np.ndarray]]
FEEDS = {"x": np.random.default_rng(1).normal(size=(1, 2, 6, 6)).astype(np.float32)}


def quantized(program: Program) -> Program:
    """Put a QuantizeLinear and DequantizeLinear behind r1, which two nodes read."""
    value = program.value("r1")
    graph = program.graph
    constants = {"s": np.float32(0.02), "z": np.int8(-128)}
    scale, zero = (
        oir.Value(name=n, const_value=oir.tensor(np.array(a), name=n)) for n, a in constants.items()
    )
    for constant in (scale, zero):
        assert constant.const_value is not None
        constant.dtype, constant.shape = constant.const_value.dtype, oir.Shape([])
        graph.register_initializer(constant)
    q = oir.node("QuantizeLinear", [value, scale, zero], name="q")
    dq = oir.node("DequantizeLinear", [q.outputs[0], scale, zero], name="dq")
    for node, name, dtype in ((q, "r1_q", oir.DataType.INT8), (dq, "r1_dq", oir.DataType.FLOAT)):
        node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = name, dtype, value.shape
    for reader, index in list(value.uses()):
        if reader is not q:
            reader.replace_input_with(index, dq.outputs[0])
    relu = next(n for n in program.nodes if n.name == "relu1")
    graph.insert_after(relu, [q, dq])
    return program


@pytest.mark.parametrize("name", ["cloud-only", "r1", "c2+r1", "r1+c2", "a", "r2", "g", "f", "edge-only"])
def test_split_equals_whole(residual: Program, run_onnx: Run, name: str) -> None:
    cut = extract.named_cut(residual, name)
    edge, cloud = extract.split(residual, cut)
    have = dict(FEEDS)
    if edge:
        have |= run_onnx(edge, FEEDS)
    if cloud:
        have |= run_onnx(cloud, {n: have[n] for n in cut.crossing})
    # The halves run the same kernels on the same values; only the fusions at the cut may differ, by rounding.
    np.testing.assert_allclose(have["y"], run_onnx(residual, FEEDS)["y"], rtol=1e-6)
    assert (edge is None) == (name == "cloud-only")
    assert (cloud is None) == (name == "edge-only")


def test_names_of_cuts_read_back(residual: Program) -> None:
    for edge_names in ([], ["conv1", "relu1"], ["conv1", "relu1", "conv2"]):
        edge = {n for n in residual.nodes if n.name in edge_names}
        cut = extract.crossing(residual, edge)
        assert extract.named_cut(residual, cut.name) == cut


def test_a_quantized_tensor_crosses_as_integers(residual: Program, run_onnx: Run) -> None:
    program = quantized(residual)
    edge = {n for n in program.nodes if n.name in ("conv1", "relu1", "q")}
    cut = extract.crossing(program, edge)
    assert cut == Cut("r1_q", ("r1_q",))
    first, second = extract.split(program, cut)
    assert first is not None
    assert second is not None
    assert second.inputs[0].dtype == "int8"
    sent = run_onnx(first, FEEDS)
    np.testing.assert_allclose(run_onnx(second, sent)["y"], run_onnx(program, FEEDS)["y"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no tensor named"), ("c2", "'r1' would cross too"), ("r1+r2", "'r1' would not cross")],
)
def test_cuts_that_are_none_are_refused(residual: Program, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extract.named_cut(residual, name)
