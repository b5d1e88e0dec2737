"""Pipeline text: what is printed parses back to the same passes, and mistakes are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from edgecut.ir.errors import UsageError
from edgecut.passes import text
from edgecut.passes.base import Pass, option


@dataclass(frozen=True)
class Sample(Pass):
    """A pass with an option of every type."""

    name: ClassVar[str] = "sample"
    data: Path = option(help="a file", file=True)
    kind: Literal["a", "b"] = option("a", help="a choice")
    ratio: float = option(0.5, help="a number")
    count: int = option(1, help="an integer")
    flag: bool = option(False, help="a switch")
    label: str | None = option(None, help="text or none")
    limit: float | None = option(None, help="a number or none")
    shapes: tuple[str, ...] = option((), help="a list of text")
    means: tuple[float, ...] = option((0.0,), help="a list of numbers")


finite = st.floats(allow_nan=False, allow_infinity=False)
samples = st.builds(
    Sample,
    data=st.text(min_size=1).filter(lambda s: s.strip("/.") != "" and "\0" not in s).map(Path),
    kind=st.sampled_from(["a", "b"]),
    ratio=finite,
    count=st.integers(),
    flag=st.booleans(),
    label=st.none() | st.text(),
    limit=st.none() | finite,
    shapes=st.lists(st.text()).map(tuple),
    means=st.lists(finite).map(tuple),
)


@given(samples)
@example(Sample(Path("m.onnx"), label="none"))
def test_text_round_trip(item: Sample) -> None:
    (call,) = text.parse(text.unparse(item))
    assert text.bind(Sample, call.options) == item


@given(st.lists(samples, min_size=1, max_size=4))
def test_pipelines_round_trip(items: list[Sample]) -> None:
    calls = text.parse(" , ".join(text.unparse(i) for i in items))
    assert [text.bind(Sample, c.options) for c in calls] == items


@given(st.text())
def test_any_text_parses_or_is_a_usage_error(source: str) -> None:
    try:
        text.parse(source)
    except UsageError as error:
        message = str(error)
    else:
        return
    assert "column" in message


def test_defaults_are_left_out() -> None:
    assert text.unparse(Sample(Path("d.npz"))) == "sample{data=d.npz}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "column 1: expected the name of a pass"),
        ("sample{", "the name of an option"),
        ("sample{data=x", "expected ','"),
        ("sample{data=x,data=y}", "given twice"),
        ("sample} ", "a comma or the end"),
        ("sample{data=x,colour=red}", "has no option 'colour'"),
        ("sample", "needs the option 'data'"),
        ("sample{data=x,kind=c}", "one of: a, b"),
        ("sample{data=x,ratio=much}", "a number"),
        ("sample{data=x,ratio=nan}", "a finite number"),
        ("sample{data=x,count=1.5}", "an integer"),
        ("sample{data=x,flag=maybe}", "true or false"),
        ("sample{data=[x,y]}", "takes one value"),
    ],
)
def test_mistakes_are_named(source: str, message: str) -> None:
    def run() -> None:
        for call in text.parse(source):
            text.bind(Sample, call.options)

    with pytest.raises(UsageError, match=message):
        run()
