"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT.parent / "shared" / "zoo"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Real trained models with real data, which stand beside the repository on some machines only."""
    if not ZOO.is_dir():
        pytest.skip("the model zoo is not on this machine")
    return ZOO


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's store."""
    monkeypatch.setenv("EDGECUT_CACHE", str(tmp_path_factory.getbasetemp() / "store"))
