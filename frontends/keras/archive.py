"""The two files of Keras: a zip of configuration and HDF5 weights, or one HDF5 file with both."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecut.frontends.keras.graph import UnknownError
from edgecut.frontends.quiet import reason, require
from edgecut.ir.errors import ModelError

Array = NDArray[Any]
Config = dict[str, Any]


class Weights(Protocol):
    """Where the weights of a network, of a layer or of a part of one lie."""

    def layer(self, config: Config, place: int) -> Weights:
        """Those of one layer; ``place`` counts the layers of its class before it in the network."""

    def part(self, name: str) -> Weights:
        """Those of the layer inside a wrapper."""

    def arrays(self, *parts: str) -> list[Array]:
        """A layer's weights in Keras' order; ``parts`` are the paths of the parts of a composed layer."""


@dataclass
class Stored:
    """A model as it lies in its file."""

    config: Config
    weights: Weights
    major: int
    """Of the Keras that wrote it."""
    where: str


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """A Keras file, open while the block runs.

    Raises:
        ModelError: It is no Keras file, or holds weights only.
        UnknownError: h5py is not installed, or the file is of a form that only Keras knows.
    """
    try:
        (h5py,) = require("h5py", extra="keras")
    except ModelError as error:
        raise UnknownError(error.what) from error
    where = str(path)
    with contextlib.ExitStack() as stack:
        try:
            if zipfile.is_zipfile(path):
                found = _zipped(stack.enter_context(zipfile.ZipFile(path)), stack, h5py, where)
            else:
                found = _single(stack.enter_context(h5py.File(path, "r")), where)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise unreadable(where, error) from error
        yield found


def unreadable(where: str, error: Exception) -> ModelError:
    """The error for a file that is damaged, or something else."""
    return ModelError(f"is no readable Keras model: {reason(error)}", where=where)


def unbuilt(where: str) -> ModelError:
    """The error for a model that was saved before it ever saw an input."""
    hint = "call it once, or give it an Input, before it is saved"
    return ModelError("has not been built: its input is not known", where=where, hint=hint)


def _zipped(archive: zipfile.ZipFile, stack: contextlib.ExitStack, h5py: Any, where: str) -> Stored:
    names = set(archive.namelist())
    if "model.weights.h5" not in names:
        raise UnknownError("its weights are in several files")
    config, metadata = (json.loads(archive.read(name)) for name in ("config.json", "metadata.json"))
    weights = stack.enter_context(h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r"))
    return Stored(config, _Tree(weights), int(metadata["keras_version"].split(".")[0]), where)


def _single(file: Any, where: str) -> Stored:
    if "model_config" not in file.attrs:
        what = "holds weights only" if "layer_names" in file.attrs else "is no readable Keras model"
        raise ModelError(what, where=where, hint="save the whole model: model.save('model.keras')")
    config = json.loads(_text(file.attrs["model_config"]))
    major = int(_text(file.attrs.get("keras_version", "2")).split(".")[0])
    return Stored(config, _Flat(file["model_weights"]), major, where)


class _Tree:
    """``model.weights.h5`` of Keras 3: a group for each layer, and in it one for each of its parts."""

    def __init__(self, group: Any) -> None:
        self.group = group

    @functools.cached_property
    def layers(self) -> dict[str, Any]:
        """Groups under the names of their layers, or where an older Keras 3 wrote none, their own."""
        groups = self.group.get("layers", {})
        return {str(g["vars"].attrs.get("name", key)) if "vars" in g else key: g for key, g in groups.items()}

    def layer(self, config: Config, place: int) -> Weights:
        kind = _snake(config["class_name"])
        own = f"{kind}_{place}" if place else kind
        return _Tree(self.layers.get(config["config"]["name"], self.layers.get(own, {})))

    def part(self, name: str) -> Weights:
        # Attributes that are private in some versions of Keras are public in others.
        return _Tree(self.group.get(name, self.group.get(f"_{name}", {})))

    def arrays(self, *parts: str) -> list[Array]:
        if parts:
            return [array for path in parts for array in self._at(path).arrays()]
        stored = self.group.get("vars", {})
        return [np.asarray(stored[key]) for key in sorted(stored, key=int)]

    def _at(self, path: str) -> Weights:
        found: Weights = self
        for name in path.split("/"):
            found = found.part(name)
        return found


class _Flat:
    """``.h5``: for each layer a list of its weights, those of nested models told by their paths."""

    def __init__(self, group: Any, names: Sequence[str] | None = None) -> None:
        self.group, self.names = group, names

    def layer(self, config: Config, place: int) -> Weights:
        name = config["config"]["name"]
        if self.names is not None:
            return _Flat(self.group, [n for n in self.names if name in n.split("/")[:-1]])
        if name not in self.group:
            return _Flat({}, [])
        group = self.group[name]
        return _Flat(group, [_text(n) for n in group.attrs["weight_names"]])

    def part(self, name: str) -> Weights:
        return self

    def arrays(self, *parts: str) -> list[Array]:
        return [np.asarray(self.group[name]) for name in self.names or ()]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _snake(name: str) -> str:
    """As Keras names its groups: ``DepthwiseConv2D`` is ``depthwise_conv2d``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
