"""Light time and hops: how long news takes from node to node while links stay as they are.

Links come and go in seconds to minutes, and news crosses a constellation in a fraction of a second. So time is cut
into epochs; a journey that begins in one epoch and ends before the end of the next uses only contacts that overlap
the two. Let all of these be open all the time, each link with the least delay that it has in them: no journey is
faster than the shortest path of that graph, and one that is not over by the end of the next epoch takes until then at
least. `Reach` is exact where waiting matters; this is for very many pairs of nodes, and very many moments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from orbitune.cost.system import System

EPOCH_S = 10.0
"""Our choice: long against the 0.2 s that news takes around the Earth, short against passes of minutes."""

Row = NDArray[np.float64]
"""Seconds from one node to every node, or from every node to one."""


class Paths:
    """Shortest paths of every epoch, each worked out when it is asked for first."""

    def __init__(self, system: System) -> None:
        self._plan = system.contacts
        self._server = system.nodes.server
        self._graphs: dict[int, csr_array] = {}
        self._from: dict[tuple[int, int], Row] = {}
        self._to_server: dict[int, list[float]] = {}
        self._from_server: dict[int, list[float]] = {}

    def to_server_s(self, satellite: int, since_s: float) -> float:
        """When news that a satellite has since then can be at the server, at the earliest."""
        if since_s == inf:
            return inf
        epoch = int(since_s // EPOCH_S)
        delays = self._to_server.get(epoch)
        if delays is None:
            delays = self._to_server[epoch] = dijkstra(self._graph(epoch).T, indices=self._server).tolist()
        return _no_later(since_s + delays[satellite], epoch)

    def from_server_s(self, satellite: int, since_s: float) -> float:
        """When news that the server has since then can be at a satellite, at the earliest."""
        if since_s == inf:
            return inf
        epoch = int(since_s // EPOCH_S)
        delays = self._from_server.get(epoch)
        if delays is None:
            delays = self._from_server[epoch] = dijkstra(self._graph(epoch), indices=self._server).tolist()
        return _no_later(since_s + delays[satellite], epoch)

    def arrivals_s(self, since_s: Mapping[int, float]) -> NDArray[np.float64]:
        """When the news of each of some nodes can be at every node, [sources, nodes]."""
        epochs = {node: int(time_s // EPOCH_S) for node, time_s in since_s.items() if time_s < inf}
        for epoch in sorted(set(epochs.values())):
            self._find(epoch, [node for node, other in epochs.items() if other == epoch])
        rows = [
            np.minimum(time_s + self._from[epochs[node], node], (epochs[node] + 2) * EPOCH_S)
            if time_s < inf
            else np.full(len(self._plan.nodes), inf)
            for node, time_s in since_s.items()
        ]
        return np.array(rows).reshape(len(rows), len(self._plan.nodes))

    def _find(self, epoch: int, nodes: Sequence[int]) -> None:
        missing = [node for node in nodes if (epoch, node) not in self._from]
        if missing:
            rows = dijkstra(self._graph(epoch), indices=missing)
            self._from.update({(epoch, node): row for node, row in zip(missing, rows, strict=True)})

    def _graph(self, epoch: int) -> csr_array:
        """Every link with a contact in this epoch or the next, and its least delay."""
        found = self._graphs.get(epoch)
        if found is None:
            plan, nodes = self._plan, len(self._plan.nodes)
            rows = np.flatnonzero((plan.start_s < (epoch + 2) * EPOCH_S) & (plan.end_s >= epoch * EPOCH_S))
            link = plan.source[rows].astype(np.int64) * nodes + plan.target[rows]
            order = np.lexsort((plan.delay_s[rows], link))
            link, first = np.unique(link[order], return_index=True)
            delay_s = plan.delay_s[rows][order][first]
            found = self._graphs[epoch] = csr_array((delay_s, divmod(link, nodes)), shape=(nodes, nodes))
        return found


def _no_later(arrival_s: float, epoch: int) -> float:
    return min(arrival_s, (epoch + 2) * EPOCH_S)
