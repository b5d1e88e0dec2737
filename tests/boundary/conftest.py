"""The digits network with measured encodings of one of its tensors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgecut.frontends import data
from edgecut.frontends.data import Sample
from edgecut.ir import annotations, extract
from edgecut.ir.annotations import CutFigures, Encodings, Plan
from edgecut.ir.program import Program
from edgecut.passes import recipes
from edgecut.passes.base import Context
from edgecut.passes.boundary.boundary import Boundary

VALUE = "relu_4"
ENCODINGS = (
    "float16", "int8", "int8{axis=channel}", "int4", "step{step=0.5}", "klt-dct{step=0.4}",
    "klt-dct{step=0.05}", "klt{step=0.5,coder=zlib}", "dct{step=0.5,coder=lzma}", "float32{coder=zlib}",
)  # fmt: skip


@pytest.fixture(scope="session")
def value() -> str:
    """A cut of the digits network, behind a ReLU."""
    return VALUE


@pytest.fixture(scope="session")
def encodings() -> tuple[str, ...]:
    return ENCODINGS


@pytest.fixture(params=ENCODINGS)
def each(request: pytest.FixtureRequest) -> str:
    """Each of the encodings."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def profiled(root: Path) -> Program:
    source = recipes.Source(
        root / "fixtures" / "digits.onnx", image=recipes.Image("input", (127.5,), (127.5,))
    )
    program = Program.empty()
    for item in [*source.front(), recipes.make("profile", edge="raspberrypi4", cloud="x86-vm")]:
        program = item.run(program, Context())
    return program


@pytest.fixture(scope="session")
def measured(root: Path, profiled: Program) -> Program:
    calibration = root / "fixtures" / "digits_calibration.npz"
    item = Boundary(calibration=calibration, encodings=ENCODINGS, values=(VALUE,), samples=40)
    return item.run(profiled.copy(), Context())


@pytest.fixture(scope="session")
def images(root: Path, profiled: Program) -> list[Sample]:
    """Images that no coder was fitted to."""
    return list(data.load(root / "fixtures" / "digits_test.npz", profiled.inputs, 6))


Emit = Callable[[Program, Path, str, tuple[str, ...]], Program]


@pytest.fixture(scope="session")
def emit() -> Emit:
    """Writes builds with one cut for each encoding of a value."""
    return _emit


def _emit(program: Program, folder: Path, value: str, names: tuple[str, ...]) -> Program:
    """Write a build with one cut for each encoding of the value, called by its name."""
    cut = extract.named_cut(program, value)
    table = annotations.require(program.value(value), Encodings, "").table
    sizes = {row.name: row.mean_bytes for row in table}
    cuts = [replace(cut, name=name, encodings=(name,)) for name in names]
    figures = tuple(CutFigures(c, 1e-3, 1e-4, sizes[c.name], 40, 0.01) for c in cuts)
    annotations.put(program.model, Plan("latency", "lan", 10.0, 10.0, 0.001, figures))
    for name in ("emit-tflite", "emit-onnx", "manifest"):
        program = recipes.make(name).run(program, Context(folder))
    return program
