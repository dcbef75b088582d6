"""Where the nodes of a graph go when it is drawn."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harmony.store.report.layout import lay_out

GRAPHS = st.integers(1, 25).flatmap(
    lambda count: st.tuples(
        st.just(count), st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=60)
    )
)


@given(GRAPHS)
def test_edges_lead_forward_and_nodes_do_not_overlap(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    layout = lay_out(count, edges)
    assert set(layout.routes) == {edge for edge in edges if edge[0] != edge[1]}
    for parent, child in layout.routes:
        assert (layout.layer[parent] < layout.layer[child]) or (parent, child) in layout.back
    by_layer: dict[int, list[float]] = defaultdict(list)
    for node in range(count):
        by_layer[layout.layer[node]].append(layout.y[node])
    for places in by_layer.values():
        places.sort()
        assert all(other - one > 1 - 1e-6 for one, other in pairwise(places))
        assert places[0] > -1e-6


@given(GRAPHS)
def test_without_cycles_no_edge_goes_back(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    assert lay_out(count, [(min(edge), max(edge)) for edge in edges]).back == set()


def test_a_chain_is_a_line() -> None:
    layout = lay_out(4, [(0, 1), (1, 2), (2, 3)])
    assert layout.layer == [0, 1, 2, 3]
    assert layout.y == [0.0] * 4
    assert layout.size == (4, 1.0)


def test_no_nodes() -> None:
    assert lay_out(0, []).size == (0, 0.0)
