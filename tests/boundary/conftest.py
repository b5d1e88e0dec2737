"""The digits network with measured encodings of one of its tensors."""

from pathlib import Path

import pytest

from edgecut.frontends import data
from edgecut.frontends.data import Sample
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
