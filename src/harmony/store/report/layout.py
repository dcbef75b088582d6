"""Layout: where the nodes of a graph go when it is drawn in layers, from left to right. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: Rounds in which nodes are moved next to what they are connected with.
ROUNDS = 8
#: How much room a passing edge needs, where a node needs 1.
PASSING = 0.4
#: With more passing edges than this they are drawn straight, over what lies between.
MOST_PASSING = 3000

Edge = tuple[int, int]


@dataclass
class Layout:
    """`layer` and `y` of each node; `routes` has for each edge the points (layer, y) that it goes through.

    `back` are the edges that go against the direction, because the graph has a cycle.
    """

    layer: list[int]
    y: list[float]
    routes: dict[Edge, list[tuple[int, float]]]
    back: set[Edge]

    @property
    def size(self) -> tuple[int, float]:
        """How many layers, and how high they are, in nodes."""
        heights = [y for route in self.routes.values() for _, y in route] + self.y
        return max(self.layer, default=-1) + 1, max(heights, default=-1.0) + 1


@dataclass
class _Net:
    """Nodes and the points of passing edges, by layer, in their order."""

    layers: list[list[int]]
    room: list[float]
    before: list[list[int]]
    after: list[list[int]]
    y: list[float] = field(default_factory=list)


def lay_out(count: int, edges: Sequence[Edge]) -> Layout:
    """Place the nodes 0 … count - 1. Edges from a node to itself are left out."""
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]
    back = _back(count, edges)
    forward = [edge for edge in edges if edge not in back]
    layer = _layers(count, forward)
    net, through = _net(layer, forward)
    for _ in range(ROUNDS):
        _order(net)
    net.y = [0.0] * len(net.room)
    for nodes in net.layers:
        _stack(net, nodes, [0.0] * len(nodes))
    for turn in range(2 * ROUNDS):
        for nodes in net.layers if turn % 2 else net.layers[::-1]:
            _stack(net, nodes, [_wanted(net, node) for node in nodes])
    top = min((net.y[node] - net.room[node] / 2 for node in range(len(net.y))), default=0.0)
    y = [value - top - 0.5 for value in net.y]
    routes = {edge: [(number, y[node]) for number, node in points] for edge, points in through.items()}
    for parent, child in back:
        routes[parent, child] = [(layer[parent], y[parent]), (layer[child], y[child])]
    return Layout(layer, y[:count], routes, back)


def _back(count: int, edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a cycle, as a walk in depth finds them."""
    after: list[list[int]] = [[] for _ in range(count)]
    has_before = [False] * count
    for parent, child in edges:
        after[parent].append(child)
        has_before[child] = True
    back: set[Edge] = set()
    state = [0] * count  # 1: on the way here, 2: done
    for root in sorted(range(count), key=has_before.__getitem__):
        walk = [(root, iter(after[root]))] if not state[root] else []
        state[root] = state[root] or 1
        while walk:
            node, rest = walk[-1]
            for child in rest:
                if state[child] == 1:
                    back.add((node, child))
                elif not state[child]:
                    state[child] = 1
                    walk.append((child, iter(after[child])))
                    break
            else:
                state[node] = 2
                walk.pop()
    return back


def _layers(count: int, edges: Sequence[Edge]) -> list[int]:
    """The longest way to each node from one without a parent."""
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for parent, child in edges:
        after[parent].append(child)
        missing[child] += 1
    layer = [0] * count
    ready = [node for node in range(count) if not missing[node]]
    for node in ready:  # grows while it is read
        for child in after[node]:
            layer[child] = max(layer[child], layer[node] + 1)
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return layer


def _net(layer: list[int], edges: Sequence[Edge]) -> tuple[_Net, dict[Edge, list[tuple[int, int]]]]:
    """Put a point into each layer that an edge passes."""
    count = len(layer)
    net = _Net([[] for _ in range(max(layer, default=-1) + 1)], [1.0] * count, [], [])
    for node, number in enumerate(layer):
        net.layers[number].append(node)
    net.before, net.after = [[] for _ in layer], [[] for _ in layer]
    bend = sum(layer[child] - layer[parent] - 1 for parent, child in edges) <= MOST_PASSING
    through: dict[Edge, list[tuple[int, int]]] = {}
    for parent, child in edges:
        points = [(layer[parent], parent)]
        for number in range(layer[parent] + 1, layer[child]) if bend else ():
            node = len(net.room)
            net.room.append(PASSING)
            net.before.append([])
            net.after.append([])
            net.layers[number].append(node)
            points.append((number, node))
        points.append((layer[child], child))
        through[parent, child] = points
        for (_, one), (_, other) in pairwise(points):
            net.after[one].append(other)
            net.before[other].append(one)
    return net, through


def _order(net: _Net) -> None:
    """Move each node to the mean place of its neighbours in the layer before, then of those after."""
    for layers, near in ((net.layers, net.before), (net.layers[::-1], net.after)):
        place = {node: index for nodes in layers for index, node in enumerate(nodes)}
        for nodes in layers:
            means = {
                node: sum(place[other] for other in near[node]) / len(near[node]) if near[node] else place[node]
                for node in nodes
            }
            nodes.sort(key=means.__getitem__)
            place.update({node: index for index, node in enumerate(nodes)})


def _wanted(net: _Net, node: int) -> float:
    near = net.before[node] + net.after[node]
    return sum(net.y[other] for other in near) / len(near) if near else net.y[node]


def _stack(net: _Net, nodes: list[int], wanted: list[float]) -> None:
    """Give the nodes of a layer places near to those wanted, in their order and without overlap."""
    room = net.room
    down: list[float] = []
    up: list[float] = []
    for node, place in zip(nodes, wanted, strict=True):
        gap = (room[node] + room[nodes[len(down) - 1]]) / 2 if down else 0.0
        down.append(max(place, down[-1] + gap) if down else place)
    for node, place in zip(reversed(nodes), reversed(wanted), strict=True):
        gap = (room[node] + room[nodes[len(nodes) - len(up)]]) / 2 if up else 0.0
        up.append(min(place, up[-1] - gap) if up else place)
    for node, low, high in zip(nodes, down, reversed(up), strict=True):
        net.y[node] = (low + high) / 2
