"""What the configuration of a network says: calls, tensors, types; as Keras 2 and Keras 3 write it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import helper

from edgecut.frontends.keras.archive import Config, unbuilt
from edgecut.frontends.keras.graph import UnknownError, Value

Place = tuple[str, int, int]
"""Layer, which of its calls, and which of that call's results."""


def shape(config: Config, where: str) -> list[int | None]:
    """The shape of an input, None where it is open.

    Raises:
        ModelError: It was saved before it was known.
    """
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None:
        raise unbuilt(where)
    if config.get("sparse") or config.get("ragged"):
        raise UnknownError("an input is sparse or ragged")
    return list(shape)


def dtype(config: Config) -> int:
    """The ONNX type of an input."""
    name = config.get("dtype", "float32")
    if name not in ("float32", "int32", "int64", "uint8", "int8"):
        raise UnknownError(f"an input is of type {name}")
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(name)))


def check_module(layer: Config) -> None:
    """Leave to Keras what only bears the name of one of its classes; in ``.h5`` the name is all there is."""
    if not layer.get("module", "keras").startswith("keras"):
        raise UnknownError(f"{layer['class_name']} is a class of {layer['module']}")


def is_operation(layer: Config) -> bool:
    """Whether it is a function of ``keras.ops``; in ``.h5``, without the module, what is not trainable."""
    if "module" in layer:
        return "keras.src.ops" in layer["module"]
    return "trainable" not in layer["config"]


def check_dtype(name: str, config: Config) -> None:
    """Leave a layer to Keras that computes in another type than float32."""
    policy = config.get("dtype", "float32")
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name", "float32")
    kind = policy or "float32"
    if kind != "float32" and not kind.startswith(("int", "uint")):
        raise UnknownError(f"layer {name!r} computes in {kind}")


def numbered(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Each name once: a layer may make several outputs, and an input may be one."""
    found: list[str] = []
    for i, name in enumerate(names):
        found.append(f"{name}_{names[:i].count(name)}" if name in [*found, *taken] else name)
    return found


def usual(name: str, value: Any, major: int = 3) -> bool:
    """Whether an option of a call makes no difference: Keras 3 takes ``training`` from the whole model."""
    if isinstance(value, list):
        return all(v is None for v in value)
    return value is None or (name == "training" and (major >= 3 or value is False))


def arguments(call: Any) -> tuple[list[Any], Config]:
    """Arguments and options of a call, tensors as ``(layer, call, result)``, from Keras 3 or Keras 2."""
    if isinstance(call, dict):
        return decoded(call["args"]), decoded(call["kwargs"])
    if any(kwargs for _, _, _, *rest in call for kwargs in rest):
        options = [key for _, _, _, kwargs in call for key, v in kwargs.items() if not usual(key, v, 2)]
        if options:
            raise UnknownError(f"a layer is called with {', '.join(options)}")
    places = [Tensor((name, node, index)) for name, node, index, *_ in call]
    return ([places] if len(places) > 1 else places), {}


@dataclass(frozen=True)
class Tensor:
    """A tensor among arguments."""

    place: Place


def decoded(item: Any) -> Any:
    """Arguments, their tensors told by their places."""
    if isinstance(item, dict):
        if item.get("class_name") == "__keras_tensor__":
            name, node, index = item["config"]["keras_history"]
            return Tensor((name, node, index))
        return {key: decoded(value) for key, value in item.items()}
    return [decoded(value) for value in item] if isinstance(item, list) else item


def filled(item: Any, found: dict[Place, Value]) -> Any:
    """Arguments with the values of their tensors."""
    if isinstance(item, Tensor):
        return found[item.place]
    if isinstance(item, dict):
        return {key: filled(value, found) for key, value in item.items()}
    return [filled(value, found) for value in item] if isinstance(item, list) else item


def flat(item: Any) -> Iterator[Any]:
    """The leaves, in the order in which Keras flattens: dictionaries by their sorted keys."""
    if isinstance(item, dict):
        for key in sorted(item):
            yield from flat(item[key])
    elif isinstance(item, list):
        for value in item:
            yield from flat(value)
    else:
        yield item


def tensors(item: Any) -> list[Place]:
    """The places of all tensors in arguments."""
    return [leaf.place for leaf in flat(item) if isinstance(leaf, Tensor)]


def places(item: Any) -> list[Place]:
    """The tensors that a configuration names as inputs or outputs: one, a list, or a dictionary."""
    if isinstance(item, dict):
        return [place for key in sorted(item) for place in places(item[key])]
    if len(item) == 3 and isinstance(item[0], str):
        return [(item[0], item[1], item[2])]
    return [place for part in item for place in places(part)]
