"""How models are loaded in ONNX Runtime: reproducible, and on any processor with the same result."""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

# x86 without VNNI: the fast kernels for int8 weights add in 16 bits, which saturates, and results are wrong,
# up to whole classes. This makes ONNX Runtime take slower kernels.
_EXACT = ("session.x64quantprecision", "1")
# One optimization of ONNX Runtime 1.32 makes graphs that it then refuses: with those kernels, and on any
# processor where it puts a Reshape between a QuantizeLinear and a matrix product.
_BROKEN = ("optimization.disable_specified_optimizers", "QDQPropagationTransformer")


def options(threads: int = 1, *, optimize: bool = True, quiet: bool = False) -> Any:
    """`onnxruntime.SessionOptions` with which int8 is exact.

    Args:
        threads: CPU threads of an operator.
        optimize: Let ONNX Runtime fuse operators; without it every node computes exactly what it says.
        quiet: Log nothing but what ends the process.
    """
    import onnxruntime as ort

    found = ort.SessionOptions()
    found.intra_op_num_threads = threads
    found.inter_op_num_threads = 1
    found.log_severity_level = 4 if quiet else 3
    found.add_session_config_entry(*_BROKEN)
    if saturates():
        found.add_session_config_entry(*_EXACT)
    if not optimize:
        found.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return found


@functools.cache
def saturates() -> bool:
    """Whether this processor may lack the instructions that add int8 products in 32 bits."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return True
