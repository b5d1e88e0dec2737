"""One call of one layer, as its lowering sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgecut.frontends.keras.archive import Config, Weights
from edgecut.frontends.keras.graph import Graph, UnknownError, Value

Array = NDArray[Any]


def each(value: Any, rank: int) -> list[int]:
    """A number for each of the spatial dimensions, given as such, or as one for all."""
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)] * rank


@dataclass
class Layer:
    """A call: configuration, weights, what it is called with, and the graph to write to."""

    graph: Graph
    kind: str
    name: str
    config: Config
    weights: Weights
    arguments: list[Any]
    options: Config
    major: int
    """Of the Keras that wrote the file: some functions changed between 2 and 3."""

    @property
    def x(self) -> Value:
        """The only tensor, as floats."""
        (value,) = self.values
        return self.graph.floats(value)

    @property
    def values(self) -> list[Value]:
        """All tensors among the arguments."""
        found: list[Value] = []
        for item in self.arguments:
            found += [v for v in (item if isinstance(item, list) else [item]) if isinstance(v, Value)]
        return found

    def arrays(self, count: int, *parts: str) -> list[Array]:
        """The weights, of which there have to be ``count``."""
        found = self.weights.arrays(*parts)
        self.need(len(found) == count, f"with {len(found)} weights where there should be {count}")
        return found

    def get(self, key: str, default: Any = None) -> Any:
        """A field of the configuration."""
        return self.config.get(key, default)

    def take(self, option: str) -> Any:
        """An option of the call, which is dealt with hereby."""
        return self.options.pop(option, None)

    def need(self, ok: bool, what: str) -> None:
        """Leave the layer to Keras unless ``ok``."""
        if not ok:
            raise UnknownError(f"layer {self.name!r} is a {self.kind} {what}")

    def plain(self, **fields: Any) -> None:
        """Leave the layer to Keras unless these fields have these values, or are absent."""
        for key, value in fields.items():
            self.need(self.get(key, value) == value, f"with {key} {self.get(key)!r}")

    def axis(self, default: int, rank: int) -> int:
        """Field ``axis``, counted from the front; a list of one is one."""
        found = self.get("axis", default)
        found = found[0] if isinstance(found, list) and len(found) == 1 else found
        self.need(isinstance(found, int), f"over the axes {found}")
        return int(found) % rank

    @property
    def channels_first(self) -> bool:
        """Whether Keras itself has the channels at place 1."""
        return bool(self.get("data_format", "channels_last") == "channels_first")

    def moved(self, value: Value) -> str:
        """What a convolution of ONNX takes: channels at place 1."""
        return self.graph.last(value) if self.channels_first else self.graph.first(value)

    def spatial(self, rank: int, tensor: str) -> Value:
        """What a convolution of ONNX gives, back as a tensor of Keras."""
        return Value(rank, last=tensor) if self.channels_first else Value(rank, first=tensor)
