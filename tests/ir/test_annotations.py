"""Records are found under one roof, wherever they stand, and only those that are asked for are loaded."""

import subprocess
import sys

import pytest

from edgecut.ir import annotations
from edgecut.ir.annotations import access


def test_every_record_is_found_in_the_package() -> None:
    for name in annotations.__all__:
        assert getattr(annotations, name) is not None
    kinds = access.kinds()
    assert {cls.__name__ for cls in kinds} <= set(annotations.__all__)
    keys = [cls.KEY for cls in kinds]
    assert len(set(keys)) == len(keys) > 20


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sauce'"):
        getattr(annotations, "Sauce"[:])


def test_a_program_is_read_without_the_records_of_plans() -> None:
    code = "import sys, edgecut.ir.program; print(*[m for m in sys.modules if m.startswith('edgecut')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"edgecut.ir.manifest", "edgecut.ir.annotations.plan"} & set(done.stdout.split())
