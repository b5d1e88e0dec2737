"""A Functional or Sequential model, layer after layer, nested models inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import helper

from edgecut.frontends.keras import configuration
from edgecut.frontends.keras import graph as onnx_graph
from edgecut.frontends.keras.archive import Config, Stored, Weights
from edgecut.frontends.keras.configuration import Place
from edgecut.frontends.keras.graph import Graph, UnknownError, Value
from edgecut.frontends.keras.layers import LAYERS, OPERATIONS
from edgecut.frontends.keras.layers.base import Layer

_NETWORKS = ("Functional", "Model", "Sequential")


def write(stored: Stored) -> onnx.ModelProto:
    """A model in ONNX; inputs and outputs are named after their layers.

    Raises:
        ModelError: The model was saved before its input was known.
        UnknownError: A layer, or a way of calling it, that is not known here.
    """
    graph = Graph()
    network = _Network(stored, stored.config, stored.weights, graph, "")
    inputs, values = [], []
    for name, config in network.inputs():
        shape, dtype = configuration.shape(config, stored.where), configuration.dtype(config)
        dims = [n if n is not None else f"{name}_{i}" if i else "batch" for i, n in enumerate(shape)]
        graph.taken.add(name)
        inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        values.append(Value(len(shape), last=name, dtype=dtype))
    outputs: dict[str, Value] = {}
    made = network.run(values)
    given = [v.name for v in inputs]
    for wanted, value in zip(configuration.numbered(network.outputs(), given), made, strict=True):
        graph.scope = wanted
        tensor = graph.last(value)
        if tensor in given or tensor in outputs:
            tensor = graph.make("Identity", tensor)
        if tensor != wanted:
            graph.rename(wanted, graph.name(f"{wanted}/inner"))  # a tensor of that name gives way
            graph.rename(tensor, wanted)
            value.last = wanted
        outputs[wanted] = value
    return onnx_graph.model(graph, inputs, list(outputs.items()))


@dataclass
class _Network:
    stored: Stored
    config: Config
    weights: Weights
    graph: Graph
    scope: str
    layers: list[Config] = field(init=False)
    nested: dict[str, Config] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.config["class_name"] not in _NETWORKS:
            raise UnknownError(f"{self.config['class_name']} is a class of its own")
        configuration.check_module(self.config)
        inside = self.config["config"]
        self.layers = inside["layers"] if isinstance(inside, dict) else inside
        self.chain = self.config["class_name"] == "Sequential"

    def inputs(self) -> list[tuple[str, Config]]:
        """Names and configurations of the input layers, in the order of the model."""
        if not self.chain:
            by_name = {layer["config"]["name"]: layer["config"] for layer in self.layers}
            return [
                (name, by_name[name])
                for name, _, _ in configuration.places(self.config["config"]["input_layers"])
            ]
        first = self.layers[0]["config"] if self.layers else {}
        if self.layers and self.layers[0]["class_name"] == "InputLayer":
            return [(first["name"], first)]
        shape = first.get("batch_input_shape") or self.config["config"].get("build_input_shape")
        return [("input_layer", {"batch_shape": shape, "dtype": first.get("dtype", "float32")})]

    def outputs(self) -> list[str]:
        """Names of the layers that make the outputs."""
        if self.chain:
            return [self.layers[-1]["config"]["name"]]
        return [name for name, _, _ in configuration.places(self.config["config"]["output_layers"])]

    def run(self, values: Sequence[Value]) -> list[Value]:
        """Write all layers; gives the outputs."""
        counts: Counter[str] = Counter()
        found: dict[Place, Value] = {}
        if not self.chain:
            starts = configuration.places(self.config["config"]["input_layers"])
            found = dict(zip(starts, values, strict=True))
            self.nested = {n["config"]["name"]: n for n in self.layers if n["class_name"] in _NETWORKS}
        flow = list(values)
        waiting: list[tuple[Config, Weights, int, Any]] = []
        for layer in self.layers:
            kind = layer["class_name"]
            weights = self.weights.layer(layer, counts[kind])
            counts[kind] += 1
            if kind == "InputLayer":
                continue
            if self.chain:
                flow = self.call(layer, weights, [flow[0]], {})
            else:
                waiting += [(layer, weights, i, call) for i, call in enumerate(layer["inbound_nodes"])]
        if self.chain:
            return flow
        while waiting:  # a shared layer may be called with what a later one makes
            left = []
            for layer, weights, number, call in waiting:
                arguments, options = configuration.arguments(call)
                arguments, options = self.counted(arguments), self.counted(options)
                if any(place not in found for place in configuration.tensors([arguments, options])):
                    left.append((layer, weights, number, call))
                    continue
                arguments, options = (
                    configuration.filled(arguments, found),
                    configuration.filled(options, found),
                )
                for i, value in enumerate(self.call(layer, weights, arguments, options)):
                    found[layer["config"]["name"], number, i] = value
            if len(left) == len(waiting):
                raise UnknownError("its layers wait for each other")
            waiting = left
        return [
            found[self.place(p, end=True)]
            for p in configuration.places(self.config["config"]["output_layers"])
        ]

    def place(self, place: Place, end: bool) -> Place:
        """Calls of nested models are counted from 1 by Keras 2, and by Keras 3 where they make outputs."""
        name, number, index = place
        inner = self.nested.get(name)
        if inner is None:
            return place
        counted = end and inner["class_name"] == "Functional"
        if self.stored.major < 3:
            first = (inner["config"].get("layers") or [{}])[0]
            counted = inner["class_name"] != "Sequential" or first.get("class_name") == "InputLayer"
        return (name, number - counted, index)

    def counted(self, item: Any) -> Any:
        """Arguments, their tensors told by calls counted from 0."""
        if isinstance(item, configuration.Tensor):
            return configuration.Tensor(self.place(item.place, end=False))
        if isinstance(item, dict):
            return {key: self.counted(value) for key, value in item.items()}
        return [self.counted(value) for value in item] if isinstance(item, list) else item

    def call(self, layer: Config, weights: Weights, arguments: list[Any], options: Config) -> list[Value]:
        """One call of one layer."""
        kind, config = layer["class_name"], layer["config"]
        name = config["name"] if isinstance(config, dict) else "sequential"
        self.graph.scope = f"{self.scope}{name}"
        options = {k: v for k, v in options.items() if not configuration.usual(k, v, self.stored.major)}
        if kind in _NETWORKS:
            inner = _Network(self.stored, layer, weights, self.graph, f"{self.scope}{name}/")
            if options:
                raise UnknownError(f"layer {name!r} is called with {', '.join(options)}")
            return inner.run([v for v in configuration.flat(arguments) if isinstance(v, Value)])
        table = OPERATIONS if configuration.is_operation(layer) else LAYERS
        lowering = table.get(kind)
        configuration.check_module(layer)
        if lowering is None:
            raise UnknownError(f"layer {name!r} is a {kind}")
        configuration.check_dtype(name, config)
        call = Layer(self.graph, kind, name, config, weights, arguments, options, self.stored.major)
        count = len(self.graph.nodes)
        made = lowering(call)
        if call.options:
            raise UnknownError(f"layer {name!r} is called with {', '.join(call.options)}")
        values = made if isinstance(made, list) else [made]
        if len(self.graph.nodes) > count:
            self._rename(values[0])
        return values

    def _rename(self, value: Value) -> None:
        """Name what a layer makes after the layer."""
        tensor = value.first if value.last is None else value.last
        if tensor is None or tensor != self.graph.nodes[-1].output[0]:
            return
        name = self.graph.name(self.graph.scope)
        node = self.graph.nodes[-1]
        node.name, node.output[0] = name, name
        value.last = name if value.last == tensor else value.last
        value.first = name if value.first == tensor else value.first
