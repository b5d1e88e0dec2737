"""onnxsim's C++ part, called without the Python package around it.

The package imports itself whole, with torch where that is installed: one to four seconds. All that is
needed is one function of its extension module, which loads in hundredths. Where a release has another
function there, the public one is called.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

_NAME = "onnxsim.onnxsim_cpp2py_export"
_LIMIT = (1 << 31) - 9999
"""Constants of any size are folded: the most that the extension takes, in bytes."""


def simplify(model: onnx.ModelProto, skipped: Sequence[str]) -> onnx.ModelProto:
    """The model with constants folded and nodes fused, all of onnxsim's optimizers but those skipped."""
    direct = _direct(model, list(skipped))
    if direct is not None:
        return direct
    with _without_torch():
        import onnxsim
    simplified: onnx.ModelProto = onnxsim.simplify(model, skipped_optimizers=list(skipped))[0]
    return simplified


def _direct(model: onnx.ModelProto, skipped: list[str]) -> onnx.ModelProto | None:
    """By the extension of onnxsim 0.8; None where it is another."""
    library = _load() if version("onnxsim").startswith("0.8.") else None
    if library is None:
        return None
    try:
        executor = _executor(library)
        # Fold constants, infer shapes, the limit; no other opset, no rewriter; initializers are constants.
        data = library.simplify(
            executor, model.SerializeToString(), skipped, True, True, _LIMIT, None, None, True, False, False,
            {}, None, None,
        )  # fmt: skip
    except (TypeError, AttributeError):
        return None
    return onnx.load_from_string(data) if data else None


def _load() -> ModuleType | None:
    """The extension module under its own name, so that the package would find it loaded."""
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = importlib.util.find_spec("onnxsim")
    folder = Path(package.origin).parent if package is not None and package.origin else None
    found = sorted(folder.glob("onnxsim_cpp2py_export*.so")) if folder else []
    spec = importlib.util.spec_from_file_location(_NAME, found[0]) if found else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_NAME] = module
    return module


def _executor(library: ModuleType) -> Any:
    """What runs the parts of the model that are constant, in ONNX Runtime."""

    class Executor(library.ModelExecutor):  # type: ignore[misc, name-defined]
        def Run(self, model: bytes, inputs: list[bytes]) -> list[bytes]:  # noqa: N802
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 4
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            arrays = [onnx.numpy_helper.to_array(onnx.TensorProto.FromString(raw)) for raw in inputs]
            names = [value.name for value in session.get_inputs()]
            made = session.run(None, dict(zip(names, arrays, strict=True)))
            return [onnx.numpy_helper.from_array(array).SerializeToString() for array in made]

    return Executor()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hide torch, which the package imports if it can, for parts that are not used here."""
    hidden = "torch" not in sys.modules
    modules: dict[str, Any] = sys.modules
    if hidden:
        modules["torch"] = None
    try:
        yield
    finally:
        if hidden:
            del modules["torch"]
