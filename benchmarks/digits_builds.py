"""Builds of the bundled digits model for tests of the runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgecut.ir import files, manifest

ROOT = Path(__file__).resolve().parent.parent


def cloud_only(folder: Path) -> Path:
    """A build of the digits model with no cut that does without the server."""
    output = folder / "cloud-only"
    command = [sys.executable, "-m", "edgecut", "build", ROOT / "fixtures" / "digits.onnx", "-o", output]
    options = ["--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi", "--cut", "cloud-only"]
    subprocess.run([*map(str, command), *options], check=True, stdout=subprocess.DEVNULL)
    path = output / manifest.FILE_NAME
    found = json.loads(path.read_text())
    found["cuts"] = [cut for cut in found["cuts"] if cut["name"] == "cloud-only"]
    path.write_text(json.dumps(found))
    return output


def altered(build: Path, output: Path) -> Path:
    """A copy of a build whose cloud models have other weights, under the same names and with right hashes."""
    shutil.copytree(build, output)
    path = output / manifest.FILE_NAME
    found = json.loads(path.read_text())
    for record in found["files"]:
        file = output / record["path"]
        if not record["path"].startswith("cloud/") or file.suffix not in (".onnx", ".bin"):
            continue
        if file.suffix == ".bin":
            file.write_bytes((np.fromfile(file, np.float32) * 2).tobytes())
        else:
            _double(file)
        record["sha256"], record["bytes"] = files.sha256(file), file.stat().st_size
    path.write_text(json.dumps(found))
    return output


def _double(path: Path) -> None:
    """Double the floating-point weights that stand in a model file itself."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for value in model.graph.initializer:
        if value.data_type == onnx.TensorProto.FLOAT and not value.external_data:
            array = onnx.numpy_helper.to_array(value) * 2
            value.CopyFrom(onnx.numpy_helper.from_array(array, value.name))
    path.write_bytes(model.SerializeToString())
