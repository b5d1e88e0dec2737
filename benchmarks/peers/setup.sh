#!/bin/sh
# Makes one virtual environment per peer, as their pins exclude each other, in the folder given (default:
# ~/.cache/edgecut-peers, about 6 GB). What cannot be installed is left out of the benchmark.
# Usage: benchmarks/peers/setup.sh [FOLDER]      PYTHON, PYTHON312: interpreters (onnx2tf 2 wants 3.12)
set -u
folder=${1:-${HOME}/.cache/edgecut-peers}
python=${PYTHON:-python3.11}
python312=${PYTHON312:-python3.12}
mkdir -p "$folder"

# make NAME INTERPRETER PACKAGE...
make() {
    name=$1 interpreter=$2
    shift 2
    [ -e "$folder/$name/ready" ] && return
    rm -rf "${folder:?}/$name"
    "$interpreter" -m venv "$folder/$name" &&
        "$folder/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@" &&
        touch "$folder/$name/ready" || echo "setup.sh: $name could not be installed" >&2
}

make onnx2tf2 "$python312" onnx2tf==2.6.9
make onnx2tf1 "$python" onnx2tf==1.29.24
make litert-torch "$python" litert-torch==0.10.0 torch==2.13.0 torchvision
make tensorflow "$python" tensorflow==2.21.0
