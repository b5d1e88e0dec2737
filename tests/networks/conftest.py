"""The generated networks, as files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def networks(root: Path) -> Path:
    """A folder with all of them, made by torch and Keras once per version of what makes them."""
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    sys.path.insert(0, str(root / "fixtures" / "networks"))
    try:
        import cache  # type: ignore[import-not-found]
        import catalogue  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    folder: Path = cache.files(list(catalogue.NETWORKS), small=True)
    return folder
