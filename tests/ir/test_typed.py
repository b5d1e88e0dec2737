"""The JSON codec: what is written reads back, and what does not fit is refused with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given

from edgecut.ir import manifest, typed


@dataclass(frozen=True)
class Inner:
    n: int
    ratio: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"]
    items: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    maybe: Inner | None = None
    table: dict[str, float] = field(default_factory=dict)
    flag: bool = False


finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, n=st.integers(), ratio=finite)
outers = st.builds(
    Outer,
    name=st.text(),
    kind=st.sampled_from(["a", "b"]),
    items=st.lists(inners).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    maybe=st.none() | inners,
    table=st.dictionaries(st.text(), finite),
    flag=st.booleans(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(outers)
def test_round_trip(value: Outer) -> None:
    assert typed.loads(Outer, typed.dumps(value)) == value


@given(outers)
def test_what_is_written_fits_the_schema(value: Outer) -> None:
    jsonschema.validate(typed.encode(value), typed.schema(Outer))


@given(json_values)
def test_foreign_data_is_read_exactly_or_refused(data: Any) -> None:
    try:
        value = typed.decode(Outer, data)
    except ValueError:
        return
    assert isinstance(value, Outer)
    jsonschema.validate(data, typed.schema(Outer))


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"name": "x"}, "$: expected the key kind"),
        ({"name": "x", "kind": "c"}, "$.kind: expected one of a, b"),
        ({"name": "x", "kind": "a", "items": [{"n": 1}, {"n": "1"}]}, "$.items[1].n: expected an integer"),
        ({"name": "x", "kind": "a", "items": [{"n": True}]}, "$.items[0].n: expected an integer"),
        ({"name": "x", "kind": "a", "colour": 1}, "not colour"),
        ({"name": "x", "kind": "a", "pair": [1]}, "$.pair: expected 2 items"),
        ({"name": "x", "kind": "a", "table": {"k": float("nan")}}, "$.table.k: expected a finite number"),
    ],
)
def test_refusal_names_the_place(data: Any, place: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        typed.decode(Outer, data)
    assert place in str(error.value)


def test_the_manifest_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(manifest.schema())
