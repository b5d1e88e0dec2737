"""Names of encodings are text that round-trips; what is none is one clear line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecut.ir import encoding
from edgecut.ir.encoding import Spec
from edgecut.ir.errors import UsageError

SPECS = st.one_of(
    st.builds(
        Spec,
        st.sampled_from(encoding.TRANSFORMS),
        st.floats(1e-3, 999).map(lambda step: float(f"{step:g}")),
        coder=st.sampled_from(["rans", "zlib", "lzma", "none"]),
    ),
    st.builds(
        Spec,
        st.sampled_from(encoding.INTEGERS),
        axis=st.sampled_from(["tensor", "channel"]),
        coder=st.sampled_from(["rans", "zlib", "lzma", "none"]),
    ),
    st.builds(Spec, st.sampled_from(["float16", "float32"]), coder=st.sampled_from(["none", "zlib"])),
)


@given(SPECS)
def test_a_name_means_the_encoding_that_it_was_made_of(spec: Spec) -> None:
    assert encoding.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("klt-dct{step=0.50}", "klt-dct{step=0.5}"),
        (" int8{ coder=none } ", "int8"),
        ("int4{coder=rans}", "int4"),
        ("float16", "float16"),
    ],
)
def test_names_are_made_canonical(text: str, canonical: str) -> None:
    assert str(encoding.parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "jpeg", "klt", "klt{step=0}", "klt{step=-1}", "klt{step=nan}", "int8{step=1}",
             "dct{step=1,step=2}", "int8{axis=rows}", "step{step=1,coder=gzip}", "klt{step=1"]
)  # fmt: skip
def test_what_is_no_encoding_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        encoding.parse(text)
