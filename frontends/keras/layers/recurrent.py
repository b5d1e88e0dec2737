"""LSTM, GRU and SimpleRNN, in one direction or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgecut.frontends.keras.archive import Config
from edgecut.frontends.keras.graph import Value
from edgecut.frontends.keras.layers.base import Array, Layer
from edgecut.frontends.keras.layers.merge import joined

# Keras stacks the gates of an LSTM as input, forget, cell, output; ONNX as input, output, forget, cell.
_GATES = {"LSTM": ("LSTM", [0, 3, 1, 2]), "GRU": ("GRU", [0, 1, 2]), "SimpleRNN": ("RNN", [0])}
_NAMES = {
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}


def _functions(layer: Layer, config: Config, kind: str) -> list[str]:
    names = [config.get("activation", "tanh")]
    if kind != "SimpleRNN":
        names.insert(0, config.get("recurrent_activation", "sigmoid"))
    layer.need(all(isinstance(n, str) and n in _NAMES for n in names), f"with activations {names}")
    found = [_NAMES[n] for n in names]
    return [*found, found[-1]] if kind == "LSTM" else found


def _stacked(kernel: Array, order: Sequence[int]) -> Array:
    """[in, gates * units] -> [1, gates * units, in], the gates as ONNX has them."""
    parts = np.split(kernel, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1).T[None]


def _run(layer: Layer, x: str, kind: str, config: Config, weights: Sequence[Array], back: bool) -> list[str]:
    """One direction over [steps, batch, channels].

    Gives the outputs of all steps [steps, batch, units], and the last states [batch, units].
    """
    graph = layer.graph
    for key in ("stateful", "time_major"):
        layer.need(not config.get(key), f"with {key}")
    operator, order = _GATES[kind]
    units = int(config["units"])
    inputs = [
        x,
        *(
            graph.constant(_stacked(w, order), name=n)
            for w, n in zip(weights, ("kernel", "recurrent"), strict=False)
        ),
    ]
    attributes: dict[str, Any] = {"hidden_size": units, "activations": _functions(layer, config, kind)}
    if kind == "GRU":
        attributes["linear_before_reset"] = int(bool(config.get("reset_after", True)))
    if len(weights) > 2:
        both = weights[2] if weights[2].ndim == 2 else np.stack([weights[2], np.zeros_like(weights[2])])
        rows = [np.concatenate([np.split(row, len(order))[i] for i in order]) for row in both]
        inputs.append(graph.constant(np.concatenate(rows)[None], name="bias"))
    direction = "reverse" if back else "forward"
    count = 3 if kind == "LSTM" else 2
    made = graph.make(operator, *inputs, outputs=count, direction=direction, **attributes)
    steps, states = made, list(graph.nodes[-1].output[1:])
    return [
        graph.make("Squeeze", steps, graph.integers(1)),
        *(graph.make("Squeeze", s, graph.integers(0)) for s in states),
    ]


def _weights(layer: Layer, config: Config, *parts: str) -> list[Array]:
    return layer.arrays(len(parts) * (2 + bool(config.get("use_bias", True))), *parts)


def _layer(layer: Layer) -> Value | list[Value]:
    config, graph = layer.config, layer.graph
    layer.need(len(layer.values) == 1, "with an initial state")
    back, all_steps = bool(config.get("go_backwards")), bool(config.get("return_sequences"))
    layer.need(not (back and all_steps), "that goes backwards and gives all steps")
    x = graph.make("Transpose", graph.last(layer.x), perm=[1, 0, 2])
    weights = _weights(layer, config, "cell")
    steps, *states = _run(layer, x, layer.kind, config, weights, back)
    if all_steps:
        made = Value(3, last=graph.make("Transpose", steps, perm=[1, 0, 2]))
    else:
        made = Value(2, last=states[0])
    if config.get("return_state"):
        return [made, *(Value(2, last=s) for s in states)]
    return made


def _bidirectional(layer: Layer) -> Value:
    inner, graph = layer.get("layer"), layer.graph
    kind, config = inner["class_name"], inner["config"]
    layer.need(kind in _GATES, f"of a {kind}")
    layer.need(len(layer.values) == 1, "with an initial state")
    layer.need(not config.get("return_state") and not config.get("go_backwards"), "with states")
    other = layer.get("backward_layer")
    same = ("class_name", "units", "activation", "recurrent_activation", "use_bias", "return_sequences")
    described = ({**i["config"], "class_name": i["class_name"]} for i in (inner, other or inner))
    one, two = ([c.get(key) for key in same] for c in described)
    layer.need(one == two, "of two different layers")
    weights = _weights(layer, config, "forward_layer/cell", "backward_layer/cell")
    half = len(weights) // 2
    x = graph.make("Transpose", graph.last(layer.x), perm=[1, 0, 2])
    values = []
    for part, back in ((weights[:half], False), (weights[half:], True)):
        steps, state, *_ = _run(layer, x, kind, config, part, back)
        if config.get("return_sequences"):
            values.append(Value(3, last=graph.make("Transpose", steps, perm=[1, 0, 2])))
        else:
            values.append(Value(2, last=state))
    mode = layer.get("merge_mode", "concat")
    if mode == "concat":
        return joined(layer, values, values[0].rank - 1)
    kinds = {"sum": "Add", "ave": "Add", "mul": "Mul"}
    layer.need(mode in kinds, f"with merge_mode {mode!r}")
    made = graph.each(kinds[mode], *values)
    return graph.scaled("Mul", made, 0.5) if mode == "ave" else made


LAYERS: dict[str, Callable[[Layer], Any]] = {
    **dict.fromkeys(_GATES, _layer),
    "Bidirectional": _bidirectional,
}
