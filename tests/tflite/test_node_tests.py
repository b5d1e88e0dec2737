"""ONNX's own node tests: none gives wrong numbers or crashes, and docs/operators.md says what is refused.

``make operators`` writes the page anew.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SHARDS = 6


@pytest.fixture(scope="session")
def runner(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("operators", root / "benchmarks" / "operators.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["operators"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def page(runner: Any) -> str:
    import onnx

    text: str = runner.PAGE.read_text(encoding="utf-8")
    made_with = re.search(r"onnx ([\d.]+)", text)
    assert made_with is not None
    if made_with[1] != onnx.__version__:
        pytest.skip(f"the page was made with the node tests of onnx {made_with[1]}")
    return text


@pytest.fixture(scope="session")
def by_operator(runner: Any) -> dict[str, list[Any]]:
    found = runner.cases()
    kinds = runner.operators(found)
    groups: dict[str, list[Any]] = {}
    for case in found:
        groups.setdefault(kinds[case.name], []).append(case)
    return groups


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_node_test_does_what_the_page_says(
    runner: Any, page: str, by_operator: dict[str, list[Any]], shard: int
) -> None:
    wrong, stale = [], []
    for operator, cases in by_operator.items():
        if zlib.crc32(operator.encode()) % SHARDS != shard:
            continue
        results = [runner.run(case, operator) for case in cases]
        wrong += [r for r in results if r.state == runner.WRONG]
        line = runner.row(operator, results)
        stale += [] if line in page else [line]
    assert wrong == []
    assert stale == [], "make operators"


def test_the_sums_on_the_page_are_those_of_its_rows(page: str, by_operator: dict[str, list[Any]]) -> None:
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\d*) \|", page, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(by_operator)
    passed, refused = sum(int(p) for _, p, _ in rows), sum(int(r or 0) for _, _, r in rows)
    assert passed + refused == sum(map(len, by_operator.values()))
    assert f"**{passed} pass, {refused} are refused with a reason, 0 give other numbers.**" in page
