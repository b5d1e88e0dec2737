"""The cloud target: each cut's cloud half as ONNX, in a model repository that Triton and KServe load."""

from edgecut.targets.onnx.emit import VERSION, CloudFiles, CloudModel, emit
from edgecut.targets.onnx.naming import cloud_model_name, model_name

__all__ = ["VERSION", "CloudFiles", "CloudModel", "cloud_model_name", "emit", "model_name"]
