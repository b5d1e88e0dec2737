"""The minimum cut beside SciPy's maximum flow."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from edgecut.targets.tflite.maxflow import Network

ARCS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 9)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(ARCS)
def test_source_side_is_that_of_any_maximum_flow(arcs: list[tuple[int, int, int]]) -> None:
    capacity = np.zeros((9, 9), np.int32)
    network = Network(9)
    for tail, head, price in arcs:
        if tail != head:
            capacity[tail, head] += price
            network.arc(tail, head, price)
    graph = csr_array(capacity)
    left = csr_array(graph - maximum_flow(graph, 0, 8).flow)
    left.eliminate_zeros()
    expected = set(breadth_first_order(left, 0, return_predecessors=False).tolist())
    if 8 not in expected:
        assert network.source_side(0, 8) == expected
