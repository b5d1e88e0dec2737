"""Keras models read without TensorFlow: every layer gives the numbers that Keras gives."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut import frontends
from edgecut.frontends.keras import archive, network, read, traced
from edgecut.frontends.keras.graph import UnknownError
from edgecut.ir.errors import ModelError

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
keras = pytest.importorskip("keras", reason="the extra tensorflow is not installed")
L = keras.layers
Case = tuple[tuple[int, ...], Callable[[], Any]]
IMAGE, STEPS = (9, 10, 6), (6, 4)


def direct(path: Path) -> onnx.ModelProto:
    with archive.opened(path) as stored:
        return network.write(stored)


def chain(shape: Sequence[int], layers: Sequence[Any], dtype: str = "float32") -> Any:
    """A functional model of layers, with weights that none of them starts with."""
    x = given = keras.Input(tuple(shape), dtype=dtype)
    for layer in layers:
        x = layer(x)
    return scattered(keras.Model(given, x))


def scattered(model: Any) -> Any:
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def compare(model: Any, path: Path, read: Any = direct) -> onnx.ModelProto:
    """Save, read, and compare on numbers of both signs, over a batch of two."""
    import onnxruntime as ort

    model.save(path)
    proto: onnx.ModelProto = read(path)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rng, samples = np.random.default_rng(0), []
    for value in model.inputs:
        shape = [2 if n is None else n for n in value.shape]
        whole = "int" in value.dtype
        samples.append(
            (rng.integers(0, 7, shape) if whole else rng.uniform(-1, 1, shape)).astype(value.dtype)
        )
    expected = keras.tree.flatten(model(samples if len(samples) > 1 else samples[0], training=False))
    names = [v.name for v in session.get_inputs()]
    found = session.run(None, dict(zip(names, samples, strict=True)))
    for ours, theirs in zip(found, map(np.asarray, expected), strict=True):
        assert ours.shape == theirs.shape
        # float32 on both sides, added in another order
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * max(np.abs(theirs).max(), 1e-3))
    return proto


def case(name: str, shape: Sequence[int], *layers: Callable[[], Any], dtype: str = "float32") -> Any:
    return pytest.param(shape, layers, dtype, id=name)


def conv() -> Any:
    """Puts what follows behind a convolution, where tensors stand channels first."""
    return L.Conv2D(4, 1)


def two_ways(kind: str, mode: str) -> Any:
    return L.Bidirectional(getattr(L, kind)(5, return_sequences=mode != "sum"), mode)


OPTIONS: list[dict[str, Any]] = [
    {}, {"return_sequences": True}, {"go_backwards": True}, {"use_bias": False, "activation": "relu"},
]  # fmt: skip
RECURRENT = [
    case(f"{kind} {options}", STEPS, functools.partial(getattr(L, kind), 5, **options))
    for kind in ("LSTM", "GRU", "SimpleRNN")
    for options in OPTIONS
] + [
    case(f"two directions of {kind}, {mode}", STEPS, functools.partial(two_ways, kind, mode))
    for kind, mode in (("LSTM", "concat"), ("LSTM", "sum"), ("GRU", "ave"), ("SimpleRNN", "mul"))
]
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu", "softplus",
    "softsign", "silu", "gelu", "mish", "exponential", "hard_sigmoid", "hard_silu", "linear",
)  # fmt: skip
CASES = [
    *(case(f"activation {a}", IMAGE, conv, functools.partial(L.Activation, a)) for a in ACTIVATIONS),
    *(case(f"dense {a}", (7,), functools.partial(L.Dense, 3, a)) for a in ("relu6", "gelu", "softmax")),
    *RECURRENT,
    case("gru before", STEPS, lambda: L.GRU(5, reset_after=False)),
    case("even window", IMAGE, lambda: L.Conv2D(4, (2, 4), padding="same")),
    case("even window of a pool", IMAGE, lambda: L.MaxPooling2D(2, 1, "same")),
    case("causal", (12, 4), lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    case("conv 3d", (5, 6, 7, 2), lambda: L.Conv3D(4, 3, 2, padding="same")),
    case("transposed 3d", (5, 6, 7, 2), lambda: L.Conv3DTranspose(4, 3, 2, padding="same")),
    case("transposed 1d", (7, 2), lambda: L.Conv1DTranspose(4, 3, 2)),
    case("separable 1d", (12, 4), lambda: L.SeparableConv1D(5, 3, depth_multiplier=2)),
    case("depthwise 1d", (12, 4), lambda: L.DepthwiseConv1D(3)),
    case("mean of steps", STEPS, lambda: L.GlobalAveragePooling1D()),
    case("mean", IMAGE, conv, lambda: L.GlobalAveragePooling2D()),
    case("mean kept", IMAGE, conv, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    case("largest", IMAGE, lambda: L.GlobalMaxPooling2D(keepdims=True)),
    case("batch norm", IMAGE, conv, lambda: L.BatchNormalization(scale=False)),
    case("batch norm of steps", STEPS, lambda: L.BatchNormalization(center=False)),
    case("batch norm of features", (5,), lambda: L.BatchNormalization()),
    case("batch norm, axis 1", IMAGE, lambda: L.BatchNormalization(axis=1)),
    case("layer norm", STEPS, lambda: L.LayerNormalization(epsilon=1e-2)),
    case("layer norm, no scale", STEPS, lambda: L.LayerNormalization(scale=False)),
    case("layer norm, no centre", STEPS, lambda: L.LayerNormalization(center=False)),
    case("rms norm", STEPS, lambda: L.RMSNormalization()),
    case("group norm", IMAGE, conv, lambda: L.GroupNormalization(2)),
    case("instance norm", IMAGE, lambda: L.GroupNormalization(-1, scale=False)),
    case("limited relu", IMAGE, lambda: L.ReLU(0.5, negative_slope=0.1)),
    case("leaky relu", IMAGE, lambda: L.LeakyReLU(0.2)),
    case("prelu", IMAGE, lambda: L.PReLU()),
    case("prelu by channel", IMAGE, conv, lambda: L.PReLU(shared_axes=[1, 2])),
    case("elu", IMAGE, lambda: L.ELU(0.5)),
    case("softmax of rows", IMAGE, conv, lambda: L.Softmax(1)),
    case("flatten", IMAGE, conv, lambda: L.Flatten(), lambda: L.Dense(2)),
    case("reshape", IMAGE, conv, lambda: L.Reshape((-1, 10)), lambda: L.Permute((2, 1))),
    case("repeat", (5,), lambda: L.RepeatVector(3)),
    case("padding", IMAGE, lambda: L.ZeroPadding2D(((1, 2), (0, 3))), conv, lambda: L.ZeroPadding2D(1)),
    case("padding 1d", STEPS, lambda: L.ZeroPadding1D((1, 2))),
    case("cropping", IMAGE, conv, lambda: L.Cropping2D(((1, 2), (0, 3)))),
    case("cropping 1d", STEPS, lambda: L.Cropping1D((0, 2))),
    case("nearest", IMAGE, lambda: L.UpSampling2D((2, 3))),
    case("bilinear", IMAGE, conv, lambda: L.UpSampling2D(2, interpolation="bilinear")),
    case("longer", STEPS, lambda: L.UpSampling1D(3)),
    case("resized", IMAGE, conv, lambda: L.Resizing(5, 13)),
    case("resized to nearest", IMAGE, lambda: L.Resizing(5, 13, interpolation="nearest")),
    case("pixels", (4, 4, 3), lambda: L.Rescaling(1 / 127.5, -1.0), dtype="uint8"),
    case("normalized", STEPS, lambda: L.Normalization(mean=[1, 2, 3, 4], variance=[0, 2, 3, 4])),
    case("embedding", (7,), lambda: L.Embedding(10, 4), dtype="int32"),
    case("embedding of floats", (7,), lambda: L.Embedding(10, 4)),
    case("each step", STEPS, lambda: L.TimeDistributed(L.Dense(3, activation="relu"))),
    case("einsum", STEPS, lambda: L.EinsumDense("abc,cde->abde", (None, 2, 7), bias_axes="de")),
    case("einsum of several", (5, 2, 7), lambda: L.EinsumDense("abcd,cde->abe", (None, 3), "relu")),
    case("training only", IMAGE, conv, lambda: L.Dropout(0.5), lambda: L.RandomFlip()),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "layers", "dtype"), CASES)
def test_a_layer_gives_what_keras_gives(shape: Any, layers: Any, dtype: str, tmp_path: Path) -> None:
    model = chain(shape, [make() for make in layers], dtype)
    compare(model, tmp_path / "m.keras")
    compare(model, tmp_path / "m.h5")


@settings(max_examples=40)
@given(data=st.data())
def test_windows_of_any_size(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    draw = data.draw
    padding = draw(st.sampled_from(["same", "valid"]))
    stride = draw(st.integers(1, 3))
    window = (draw(st.integers(stride, 4)), draw(st.integers(stride, 4)))
    window = draw(st.sampled_from([window, (1, 1)]))
    shape = (draw(st.integers(5, 9)), draw(st.integers(5, 9)), 4)
    kinds = ["Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Max", "Average"]
    kind = draw(st.sampled_from(kinds))
    options: dict[str, Any] = {"strides": stride, "padding": padding}
    if kind in ("Max", "Average"):
        layer = getattr(L, f"{kind}Pooling2D")(window, **options)
    elif kind == "DepthwiseConv2D":
        layer = L.DepthwiseConv2D(window, depth_multiplier=draw(st.integers(1, 2)), **options)
    else:
        if kind == "Conv2D":
            options["groups"] = draw(st.sampled_from([1, 2]))
            if stride == 1 and max(window) < 4:
                options["dilation_rate"] = draw(st.integers(1, 2))
        layer = getattr(L, kind)(6, window, use_bias=draw(st.booleans()), activation="relu", **options)
    compare(chain(shape, [layer]), tmp_path_factory.mktemp("windows") / "m.keras")


def test_attention(tmp_path: Path) -> None:
    query, memory = keras.Input((6, 8)), keras.Input((5, 8))
    one = L.MultiHeadAttention(2, 4, value_dim=3, name="one")(query, memory)
    two = L.MultiHeadAttention(2, 4, use_bias=False, output_shape=5, name="two")(query, memory, key=memory)
    model = scattered(keras.Model([query, memory], [one, two]))
    for file in ("m.keras", "m.h5"):
        compare(model, tmp_path / file)


def test_sums_of_branches_and_functions(tmp_path: Path) -> None:
    a, b = keras.Input((4, 5, 3)), keras.Input((4, 5, 3))
    c = L.Conv2D(3, 1)(a)
    kinds = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum, L.Concatenate)
    outputs = [kind()([c, b]) for kind in kinds] + [L.Concatenate(1)([c, b, c])]
    ops = keras.ops
    outputs += [ops.relu(2 - c) * b / 3 + 1, c**2, ops.transpose(c, (0, 3, 1, 2)), ops.mean(c, (1, 2)), -c]
    outputs += [ops.matmul(b, ops.transpose(c, (0, 1, 3, 2))), ops.softmax(c, axis=-1), ops.gelu(c)]
    outputs += [ops.reshape(c, (-1, 60)), ops.concatenate([c, b], -1), b]
    model = scattered(keras.Model([a, b], outputs))
    for file in ("m.keras", "m.h5"):
        compare(model, tmp_path / file)


def test_shared_layers_and_models_inside_models(tmp_path: Path) -> None:
    a, b = keras.Input((4, 5, 3)), keras.Input((4, 5, 3))
    block = keras.Sequential(
        [keras.Input((4, 5, 3)), L.Conv2D(3, 3, padding="same"), L.BatchNormalization(), L.ReLU()],
        name="block",
    )
    x, y = keras.Input((4, 5, 3)), keras.Input((4, 5, 3))
    two = keras.Model(
        [x, y], [L.Add()([block(x), y]), L.Multiply()([block(y), L.Conv2D(3, 1)(y)])], name="two"
    )
    first, second = two([a, b])
    third, _ = two([second, first])
    model = scattered(keras.Model([b, a], [second, third, second]))
    for file in ("m.keras", "m.h5"):
        proto = compare(model, tmp_path / file)
        assert [v.name for v in proto.graph.output] == ["two", "two_1", "two_2"]


def test_sequential_models(tmp_path: Path) -> None:
    model = keras.Sequential([L.Dense(3), L.Dropout(0.2), L.Dense(2, name="scores")])
    model(np.zeros((1, 4), "f4"))
    for file in ("m.keras", "m.h5"):
        proto = compare(scattered(model), tmp_path / file)
        assert [v.name for v in proto.graph.output] == ["scores"]


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetB0", "ConvNeXt"])
def test_networks_of_keras_applications(tmp_path: Path, name: str) -> None:
    apps = keras.applications
    if name == "ConvNeXt":
        from keras.src.applications import convnext

        build, options = convnext.ConvNeXt, {"depths": (1, 2, 1, 1), "projection_dims": (8, 16, 16, 24)}
    else:
        build, options = getattr(apps, name), {}
    model = build(weights=None, input_shape=(64, 64, 3), classes=10, **options)
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.uniform(0, 0.1, w.shape) for w in model.get_weights()])
    model.save(tmp_path / "m.keras")  # loaded again, as some layers take figures from their weights only then
    compare(keras.saving.load_model(tmp_path / "m.keras"), tmp_path / "m.keras")


def test_both_ways_of_reading_give_the_same_names(tmp_path: Path) -> None:
    model = chain(IMAGE, [conv(), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(3, name="scores")])
    model.save(tmp_path / "m.keras")
    one, two = direct(tmp_path / "m.keras"), traced.read(tmp_path / "m.keras", "")
    for field in ("input", "output"):
        assert [v.name for v in getattr(one.graph, field)] == [v.name for v in getattr(two.graph, field)]


class Add(L.Layer):  # type: ignore[misc, name-defined]
    """Bears the name of a layer of Keras, and does something else."""

    def call(self, x: Any) -> Any:
        return x * 3


@pytest.mark.parametrize(
    ("shape", "make", "dtype"),
    [
        ((6, 8), lambda x: L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True), "float32"),
        ((7,), lambda x: L.LSTM(3)(L.Embedding(10, 4, mask_zero=True)(x)), "int32"),
        (STEPS, lambda x: L.LSTM(3, return_sequences=True, go_backwards=True)(x), "float32"),
        (IMAGE, lambda x: L.ReLU(threshold=0.3)(x), "float32"),
        (IMAGE, lambda x: L.MaxPooling2D(2, 3, padding="same")(x), "float32"),
        (IMAGE, lambda x: L.Resizing(4, 4, crop_to_aspect_ratio=True)(x), "float32"),
    ],
)
def test_what_only_keras_knows_is_traced(shape: Any, make: Any, dtype: str, tmp_path: Path) -> None:
    x = keras.Input(shape, dtype=dtype)
    model = scattered(keras.Model(x, make(x)))
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnknownError):
        direct(tmp_path / "m.keras")


def test_a_class_of_ones_own_is_not_taken_for_that_of_keras(tmp_path: Path) -> None:
    chain((4,), [Add()]).save(tmp_path / "m.keras")
    with pytest.raises(UnknownError, match="is a class of"):
        direct(tmp_path / "m.keras")


def test_a_layer_that_is_not_known_is_read_through_tensorflow(tmp_path: Path) -> None:
    compare(chain(IMAGE, [conv(), L.ReLU(threshold=0.3)]), tmp_path / "m.keras", read)


def test_keras_2_files(tmp_path: Path) -> None:
    """As Keras 2.15 writes them: shapes, activations, axes and calls in its own spelling."""
    h5py = pytest.importorskip("h5py")
    rng, arrays = np.random.default_rng(0), {}
    arrays["conv/conv/kernel:0"] = rng.normal(size=(3, 3, 3, 4))
    arrays["bn/bn/gamma:0"], arrays["bn/bn/beta:0"] = rng.normal(size=4), rng.normal(size=4)
    arrays["bn/bn/moving_mean:0"], arrays["bn/bn/moving_variance:0"] = (
        rng.normal(size=4),
        rng.uniform(1, 2, 4),
    )
    arrays["inner/dense/kernel:0"], arrays["inner/dense/bias:0"] = rng.normal(size=(4, 2)), rng.normal(size=2)

    def layer(kind: str, name: str, *inputs: Any, **config: Any) -> dict[str, Any]:
        described = {"name": name, "trainable": True, "dtype": "float32", **config}
        calls = [[[*i, {}] for i in inputs]] if inputs else []
        return {"class_name": kind, "name": name, "config": described, "inbound_nodes": calls}

    dense = layer("Dense", "dense", ("first", 0, 0), units=2, activation="softmax", use_bias=True)
    start = layer("InputLayer", "first", batch_input_shape=[None, 4], sparse=False, ragged=False)
    layers = [
        layer("InputLayer", "image", batch_input_shape=[None, 8, 8, 3], sparse=False, ragged=False),
        layer("Conv2D", "conv", ("image", 0, 0), filters=4, kernel_size=[3, 3], strides=[2, 2],
              padding="same", data_format="channels_last", dilation_rate=[1, 1], groups=1,
              activation="linear", use_bias=False),
        layer("BatchNormalization", "bn", ("conv", 0, 0), axis=[3], epsilon=1e-3, center=True, scale=True),
        layer("LeakyReLU", "leaky", ("bn", 0, 0), alpha=0.25),
        layer("Add", "add", ("leaky", 0, 0), ("bn", 0, 0)),
        layer("GlobalAveragePooling2D", "pool", ("add", 0, 0), data_format="channels_last", keepdims=False),
        layer("Functional", "inner", ("pool", 0, 0), layers=[start, dense],
              input_layers=[["first", 0, 0]], output_layers=[["dense", 0, 0]]),
    ]  # fmt: skip
    config = {"name": "model", "trainable": True, "layers": layers, "input_layers": [["image", 0, 0]]}
    config["output_layers"] = [["inner", 1, 0]]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        stored = file.create_group("model_weights")
        stored.attrs["layer_names"] = [each["name"].encode() for each in layers]
        for each in layers:
            group = stored.create_group(each["name"])
            names = [n.split("/", 1)[1] for n in arrays if n.split("/")[0] == each["name"]]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for name in names:
                group[name] = arrays[f"{each['name']}/{name}"].astype("f4")
    compare_files(direct(tmp_path / "m.h5"), traced.read(tmp_path / "m.h5", ""), (1, 8, 8, 3))


def compare_files(one: onnx.ModelProto, two: onnx.ModelProto, shape: Sequence[int]) -> None:
    import onnxruntime as ort

    x = np.random.default_rng(3).normal(size=shape).astype("f4")
    results: list[Any] = []
    for proto in (one, two):
        session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    # float32 on both sides, added in another order; the results are shares of one
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-6)


SCRIPT = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["tf2onnx"] = None
from edgecut.__main__ import main
sys.argv[0] = "edgecut"
main()
"""


def convert(model: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """On a machine without TensorFlow."""
    command = [sys.executable, "-c", SCRIPT, "convert", str(model), "-o", str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tensorflow_is_not_needed(tmp_path: Path) -> None:
    chain(IMAGE, [conv(), L.ReLU(), L.Flatten(), L.Dense(3)]).save(tmp_path / "m.keras")
    done = convert(tmp_path / "m.keras", tmp_path / "m.tflite")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.tflite").exists()


def test_what_needs_tensorflow_says_why(tmp_path: Path) -> None:
    chain(IMAGE, [L.ReLU(threshold=0.3, name="odd")]).save(tmp_path / "m.keras")
    done = convert(tmp_path / "m.keras", tmp_path / "m.tflite")
    assert done.returncode == 1
    assert "layer 'odd' is a ReLU with threshold 0.3" in done.stderr.replace("\n", " ")
    assert "edgecut[tensorflow]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m.tflite").exists()


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    model = chain((5,), [L.Dense(3)])
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    with zipfile.ZipFile(tmp_path / "m.keras") as whole, zipfile.ZipFile(tmp_path / "cut.keras", "w") as cut:
        for name in ("config.json", "metadata.json"):
            cut.writestr(name, whole.read(name))
        cut.writestr("model.weights.h5", whole.read("model.weights.h5")[:900])
    with pytest.raises(ModelError, match="is no readable Keras model"):
        frontends.load(tmp_path / "cut.keras")
    with pytest.raises(ModelError, match=r"is no readable Keras model|holds weights only"):
        frontends.load(tmp_path / "m.weights.h5")


def test_a_model_without_an_input(tmp_path: Path) -> None:
    keras.Sequential([L.Dense(3)]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match="has not been built"):
        frontends.load(tmp_path / "m.keras")
