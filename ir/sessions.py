"""How models are loaded in ONNX Runtime: reproducible, and on any processor with the same result."""

from __future__ import annotations

from typing import Any

# Without VNNI, the fast kernels for int8 weights add in 16 bits, which saturate: results are wrong, up to
# whole classes. This makes ONNX Runtime take slower kernels there, and changes nothing elsewhere.
_EXACT = ("session.x64quantprecision", "1")


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
    found.add_session_config_entry(*_EXACT)
    if not optimize:
        found.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return found
