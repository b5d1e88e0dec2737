"""PyTorch and TensorFlow models compute the same after import, under the same names and in the same order."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgecut import frontends
from edgecut.ir.errors import ModelError
from edgecut.ir.verify import verify

Run = Callable[[onnx.ModelProto, Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]

# Float32 sums in another order, over at most a few hundred terms of size one.
RTOL, ATOL = 1e-4, 1e-5


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="the extra torch is not installed")


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    pytest.importorskip("tf2onnx", reason="the extra tensorflow is not installed")
    return pytest.importorskip("tensorflow", reason="the extra tensorflow is not installed")


@pytest.fixture(scope="module")
def keras_model(tensorflow: Any) -> Any:
    """A stride-2 NHWC convolution with Keras' lopsided padding, two heads, and trained-like statistics."""
    keras = tensorflow.keras
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3), name="image")
    hidden = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.ReLU(6.0)(hidden)
    hidden = keras.layers.DepthwiseConv2D(3, padding="same")(hidden)
    pooled = keras.layers.GlobalAveragePooling2D()(hidden)
    second = keras.layers.Dense(2, name="zeta")(pooled)
    first = keras.layers.Dense(4, activation="softmax", name="alpha")(pooled)
    model = keras.Model(image, [second, first])
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def test_torch_export_computes_the_same(torch: Any, tmp_path: Path, run: Run) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.Hardswish(),
        torch.nn.Dropout(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4),
    ).eval()  # fmt: skip
    x = torch.randn(1, 3, 16, 16)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "m.pt2")
    program = frontends.load(tmp_path / "m.pt2")
    verify(program)
    (name,) = [spec.name for spec in program.inputs]
    (found,) = run(program.proto(), {name: x.numpy()}).values()
    np.testing.assert_allclose(found, module(x).detach().numpy(), RTOL, ATOL)
    assert str(tmp_path.parent) not in str(program.proto()), "paths of this machine stay out of the IR"


def test_torch_keeps_order_and_takes_open_shapes(torch: Any, tmp_path: Path, run: Run) -> None:
    class Two(torch.nn.Module):  # type: ignore[misc]
        def forward(self, zebra: Any, apple: Any) -> Any:
            return zebra - apple, zebra * 2, apple.sum(1)

    batch = torch.export.Dim("batch")
    inputs = (torch.randn(2, 5), torch.randn(2, 5))
    dims = {"zebra": {0: batch}, "apple": {0: batch}}
    exported = torch.export.export(Two().eval(), inputs, dynamic_shapes=dims)
    torch.export.save(exported, tmp_path / "m.pt2")
    program = frontends.load(tmp_path / "m.pt2", {"zebra": (2, 5)})
    assert [(s.name, s.shape) for s in program.inputs] == [("zebra", (2, 5)), ("apple", (2, 5))]
    found = run(program.proto(), {"zebra": inputs[0].numpy(), "apple": inputs[1].numpy()})
    for ours, theirs in zip(found.values(), Two()(*inputs), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), RTOL, ATOL)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Transformer"])
def test_recurrent_and_attention_networks_are_read(torch: Any, tmp_path: Path, run: Run, kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 8)
    if kind == "Transformer":
        module = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    else:
        module = getattr(torch.nn, kind)(8, 5, batch_first=True).eval()
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "m.pt2")
    program = frontends.load(tmp_path / "m.pt2")
    verify(program)
    expected = module(x) if kind == "Transformer" else module(x)[0]
    found = next(iter(run(program.proto(), {program.inputs[0].name: x.numpy()}).values()))
    np.testing.assert_allclose(found, expected.detach().numpy(), RTOL, ATOL)


@pytest.mark.parametrize("file", ["m.keras", "m.h5"])
def test_keras_computes_the_same(keras_model: Any, tmp_path: Path, run: Run, file: str) -> None:
    keras_model.save(tmp_path / file)
    program = frontends.load(tmp_path / file)
    verify(program)
    assert [(s.name, s.shape) for s in program.inputs] == [("image", (1, 16, 16, 3))]
    assert [s.name for s in program.outputs] == ["zeta", "alpha"]
    _compare(keras_model, program.proto(), run, "image", ["zeta", "alpha"])


def test_saved_model_computes_the_same(keras_model: Any, tmp_path: Path, run: Run) -> None:
    keras_model.export(tmp_path / "saved", verbose=False)
    program = frontends.load(tmp_path / "saved")
    verify(program)
    (name,) = [spec.name for spec in program.inputs]
    _compare(keras_model, program.proto(), run, name, [spec.name for spec in program.outputs])


def test_damaged_files_are_one_clear_line(torch: Any, tensorflow: Any, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    for name in ("m.pt2", "m.keras", "m.h5", "saved/saved_model.pb"):
        (tmp_path / name).write_bytes(b"no model at all")
        path = tmp_path / ("saved" if "/" in name else name)
        with pytest.raises(ModelError, match="is no readable") as caught:
            frontends.load(path)
        assert "\n" not in str(caught.value)


def test_frameworks_do_not_talk(keras_model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keras_model.save(tmp_path / "m.keras")
    capfd.readouterr()
    frontends.load(tmp_path / "m.keras")
    assert capfd.readouterr() == ("", "")


def test_a_missing_extra_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "m.pt2").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r'pip install "edgecut\[torch\]"'):
        frontends.load(tmp_path / "m.pt2")


def _compare(model: Any, proto: onnx.ModelProto, run: Run, name: str, outputs: list[str]) -> None:
    x = np.random.default_rng(1).uniform(0, 1, (1, 16, 16, 3)).astype(np.float32)
    found = run(proto, {name: x})
    for ours, theirs in zip((found[o] for o in outputs), model(x, training=False), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), RTOL, ATOL)
