"""Programs are run as every device runs them, whatever this machine's processor is."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgecut.ir.program import Program
from edgecut.passes.numerics import Runner


def test_large_int8_sums_do_not_saturate() -> None:
    """Without VNNI, ONNX Runtime's default kernels add pairs of products in 16 bits."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    net (float[1,8,4,4] x) => (float[1,8,4,4] y)
    { q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  w = DequantizeLinear<axis=0>(wq, ws, wz)
      c = Conv(d, w)  cq = QuantizeLinear(c, t, z)  y = DequantizeLinear(cq, t, z) }"""
    model = onnx.parser.parse_model(text)
    arrays = {
        "s": np.float32(1), "z": np.int8(-128), "t": np.float32(1024),
        "wq": np.full((8, 8, 1, 1), 127, np.int8), "ws": np.ones(8, np.float32), "wz": np.zeros(8, np.int8),
    }  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items())
    program = Program.from_proto(onnx.shape_inference.infer_shapes(model))
    sample = {"x": np.full((1, 8, 4, 4), 255, np.float32)}
    exact = 8 * 127 * 255
    # Half a step of the result's grid.
    for optimize in (True, False):
        found = Runner(program, optimize=optimize)(sample)["y"]
        assert np.abs(found - exact).max() <= 512
