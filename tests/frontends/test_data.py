"""Data come in the file's order, one sample at a time, and never in a shape or meaning that was not meant."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from edgecut.frontends import data
from edgecut.ir.errors import EdgecutError, ModelError
from edgecut.ir.program import TensorSpec

PIXELS = TensorSpec("input", "uint8", (1, 4, 6, 3))
FLOATS = TensorSpec("input", "float32", (1, 3))


def _samples(dataset: data.Dataset, name: str = "input") -> NDArray[Any]:
    return np.stack([sample[name] for sample in dataset])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=4, max_side=4), elements=st.floats(-9, 9, width=32)
    ),
    npz=st.booleans(),
    fortran=st.booleans(),
)
def test_arrays_come_back_as_they_were_saved(
    values: NDArray[Any], npz: bool, fortran: bool, tmp_path: Path
) -> None:
    spec = TensorSpec("input", "float32", (1, *values.shape[1:]))
    stored = np.asfortranarray(values) if fortran else values
    path = tmp_path / ("a.npz" if npz else "a.npy")
    if npz:
        np.savez_compressed(path, input=stored)
    else:
        np.save(path, stored)
    dataset = data.load(path, [spec])
    assert len(dataset) == len(values)
    for _ in range(2):  # it may be gone through again
        np.testing.assert_array_equal(_samples(dataset), values[:, None])


def test_labels_and_limit(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "d.npz", anything=values, labels=np.array([3, 1, 2, 0]))
    dataset = data.load(tmp_path / "d.npz", [FLOATS], limit=2)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [3, 1]
    np.testing.assert_array_equal(_samples(dataset), values[:2, None])
    assert len(data.load(tmp_path / "d.npz", [FLOATS], limit=100)) == 4


def test_notes_beside_the_samples_are_left_aside(tmp_path: Path) -> None:
    beats = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "d.npz"
    np.savez(path, beats=beats, record=np.array([7, 8]), paths=np.array(["a", "b"]), labels=np.array([1, 0]))
    found = data.load(path, [TensorSpec("x", "float32", (1, 3))])
    np.testing.assert_array_equal(np.concatenate([sample["x"] for sample in found]), beats)
    with pytest.raises(ModelError, match=r"\[2, 3\].*takes float32 \[N, 4\]"):
        data.load(path, [TensorSpec("x", "float32", (1, 4))])


def test_several_inputs_come_by_their_names(tmp_path: Path) -> None:
    specs = [TensorSpec("b", "float32", (1, 2)), TensorSpec("a", "int32", (1,))]
    np.savez(tmp_path / "d.npz", a=np.array([7, 8], np.int64), b=np.eye(2, dtype=np.float64))
    first = next(iter(data.load(tmp_path / "d.npz", specs)))
    assert list(first) == ["b", "a"]
    assert [first[name].dtype.name for name in "ab"] == ["int32", "float32"]
    assert first["a"].tolist() == [7]


@pytest.mark.parametrize(("shape", "count"), [((6, 3), 3), ((5, 2, 3), 5), ((2, 3), 1)])
def test_batches_larger_than_one(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "d.npy", values)
    dataset = data.load(tmp_path / "d.npy", [TensorSpec("input", "float32", (2, 3))])
    np.testing.assert_array_equal(_samples(dataset), values.reshape(count, 2, 3))
    assert len(dataset) == count


def test_one_sample_may_come_without_its_batch_dimension(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros(3, np.float32))
    assert [s["input"].shape for s in data.load(tmp_path / "d.npy", [FLOATS])] == [(1, 3)]


@pytest.mark.parametrize(("values", "message"), [
    (np.zeros((2, 4), np.float32), r"is float32 \[2, 4\], but the input 'input' takes float32 \[N, 3\]"),
    (np.zeros((2, 3), np.uint8), r"raw pixels need --image input"),
    (np.zeros((2, 3), np.int64), r"is int64 \[2, 3\]"),
    (np.zeros((0, 3), np.float32), r"holds no samples"),
    (np.array([[object()] * 3]), r"holds Python objects"),
    (np.float32(3), r"is float32 \[\]"),
])  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_they_are_read(
    tmp_path: Path, values: NDArray[Any], message: str
) -> None:
    np.save(tmp_path / "d.npy", values, allow_pickle=True)
    with pytest.raises(ModelError, match=message):
        data.load(tmp_path / "d.npy", [FLOATS])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_name_their_sample(tmp_path: Path, bad: float) -> None:
    values = np.zeros((3, 3), np.float32)
    values[1, 2] = bad
    np.savez(tmp_path / "d.npz", input=values)
    with pytest.raises(ModelError, match=r"d\.npz\[input\]: sample 1 has NaN or infinite"):
        _samples(data.load(tmp_path / "d.npz", [FLOATS]))


def test_integers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[1], [1 << 40]]))
    with pytest.raises(ModelError, match="sample 1 does not fit int32"):
        _samples(data.load(tmp_path / "d.npy", [TensorSpec("input", "int32", (1, 1))]))


def test_missing_arrays_and_uneven_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=np.zeros((2, 3), np.float32), b=np.zeros((3, 3), np.float32))
    a, b, c = (TensorSpec(name, "float32", (1, 3)) for name in "abc")
    with pytest.raises(ModelError, match=r"no array for the input 'c' \(it holds: a, b\)"):
        data.load(tmp_path / "d.npz", [a, c])
    with pytest.raises(ModelError, match="differ in samples: a has 2, b has 3"):
        data.load(tmp_path / "d.npz", [a, b])


def test_labels_of_another_count_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", input=np.zeros((2, 3), np.float32), labels=np.zeros(3, np.int64))
    with pytest.raises(ModelError, match="not 2 class indices"):
        data.load(tmp_path / "d.npz", [FLOATS])


def test_files_that_are_no_data(tmp_path: Path) -> None:
    for name in ("text.npz", "text.npy"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(ModelError, match="no readable NumPy file"):
            data.load(tmp_path / name, [FLOATS])
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(ModelError, match="is no data"):
        data.load(tmp_path / "d.csv", [FLOATS])
    with pytest.raises(ModelError, match="no such file"):
        data.load(tmp_path / "absent.npz", [FLOATS])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.data())
def test_a_damaged_file_never_ends_in_a_traceback(choices: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez_compressed(path, input=np.arange(30, dtype=np.float32).reshape(10, 3), labels=np.arange(10))
    content = bytearray(path.read_bytes())
    for _ in range(choices.draw(st.integers(1, 4))):
        content[choices.draw(st.integers(0, len(content) - 1))] = choices.draw(st.integers(0, 255))
    path.write_bytes(content[: choices.draw(st.integers(0, len(content)) | st.just(len(content)))])
    message = ""
    try:
        _samples(data.load(path, [FLOATS]))
    except EdgecutError as error:
        message = str(error)
    assert "\n" not in message


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    row = (1, 256, 256)
    np.savez(tmp_path / "d.npz", input=np.zeros((100, *row[1:]), np.float32))
    dataset = data.load(tmp_path / "d.npz", [TensorSpec("input", "float32", row)])
    tracemalloc.start()
    for sample in dataset:
        assert sample["input"].shape == row
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A sample takes 256 KiB and is held a few times over; the whole file would be 25 MiB.
    assert peak < 4 << 20


def test_images_of_the_right_size_are_taken_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    for index, name in enumerate(("b.png", "a.png", "c/d.PNG")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[index]).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\nb.png,0\nc/d.PNG,2\n")
    dataset = data.load(tmp_path, [PIXELS])
    np.testing.assert_array_equal(_samples(dataset), pixels[[1, 0, 2], None])
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 2]


def test_other_images_are_scaled_and_their_middle_is_taken(tmp_path: Path) -> None:
    """A square in the middle of a wide image: what is left and right of it is cut off."""
    picture = np.zeros((64, 200, 3), np.uint8)
    picture[:, 68:132] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    (sample,) = data.load(tmp_path, [TensorSpec("input", "uint8", (1, 32, 32, 3))])
    assert sample["input"].min() == 255


def test_grey_images_and_colour_models(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 9, np.uint8)).save(tmp_path / "a.png")
    (colour,) = data.load(tmp_path, [PIXELS])
    (grey,) = data.load(tmp_path, [TensorSpec("input", "uint8", (1, 4, 6, 1))])
    assert colour["input"].tolist() == np.full((1, 4, 6, 3), 9).tolist()
    assert grey["input"].shape == (1, 4, 6, 1)


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no images"):
        data.load(tmp_path, [PIXELS])
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ModelError, match=r"takes float32 \[1, 3\].*--image input"):
        data.load(tmp_path, [FLOATS])
    with pytest.raises(ModelError, match="serves one input"):
        data.load(tmp_path, [PIXELS, FLOATS])
    with pytest.raises(ModelError, match=r"a\.png: is no readable image"):
        _samples(data.load(tmp_path, [PIXELS]))


def test_labels_of_images_are_complete_integers(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    for text, message in (
        ("file,label\nb.png,1\n", "no row for 'a.png'"),
        ("file,label\na.png,x\n", "no integer"),
    ):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(ModelError, match=message):
            data.load(tmp_path, [PIXELS])


def test_the_zoo_has_labels_in_both_conventions(zoo: Path) -> None:
    spec = TensorSpec("input", "uint8", (1, 224, 224, 3))
    folder = zoo / "data" / "imagenet"
    for classes in (1000, 1001):
        labels = data.load(folder, [spec], classes=classes).labels
        assert labels is not None
        assert labels[:3].tolist() == [0 + classes - 1000, 10 + classes - 1000, 20 + classes - 1000]
    assert data.load(folder, [spec]).labels is None
