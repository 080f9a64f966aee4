"""Every master of a Redis Cluster with a line of its own, for one thread."""

from collections.abc import Callable
from typing import Any

import redis

from broker.store import info, topology
from broker.store.address import Node
from broker.store.sync_line import SyncLine
from broker.store.topology import Topology


class SyncCluster:
    """Asks the owner of a key, and looks at every master before each thing that it has to vouch for.

    So a thread that goes on is never a beat behind a master that was replaced, be it the feed's or another. While one of
    them does not answer, or the cluster does not know who it is, nothing is vouched for: its life is not known.
    """

    def __init__(self, seeds: tuple[Node, ...], connect: Callable[[Node], SyncLine]) -> None:
        """Learn the masters from `seeds`; `connect` makes the line to one of them."""
        self._seeds = seeds
        self._connect = connect
        self._lines: dict[Node, SyncLine] = {}
        self._topology: Topology | None = None

    @property
    def run_id(self) -> str:
        """The lives of all masters as one text; empty while one of them is not known."""
        if self._topology is None:
            return ""
        return topology.life_of(self._lines[node].run_id for node in self._topology.masters)

    def ask(self, key: str, packed: bytes, *, writes: bool) -> Any:
        """Ask the master that owns the key; return the answer, or the error in its place."""
        try:
            if writes or self._topology is None:
                self._look()
            assert self._topology is not None
            answer = self._line(self._topology.owner(key)).ask(key, packed, writes=writes)
        except (redis.exceptions.RedisError, OSError) as error:
            return error
        if topology.is_doubted_by(answer):
            self._topology = None
        return answer

    def close(self) -> None:
        """Close every connection."""
        for line in self._lines.values():
            line.close()

    def _look(self) -> None:
        found = self._ask_topology()
        for node in found.masters:
            line = self._line(node)
            answer = line.ask("", info.LIFE_QUESTION, writes=False)
            if isinstance(answer, Exception):
                raise answer
            line.run_id = info.life(answer)
        self._topology = found
        for node in set(self._lines) - set(found.masters):
            self._lines.pop(node).close()

    def _ask_topology(self) -> Topology:
        known = self._topology.masters if self._topology is not None else ()
        last: Exception = redis.exceptions.ClusterDownError("CLUSTERDOWN nobody knows the cluster")
        for node in topology.asked_in_turn((*known, *self._lines), self._seeds):
            try:
                return topology.read(self._line(node).ask("", topology.QUESTION, writes=False), node)
            except (redis.exceptions.RedisError, OSError) as error:
                last = error
        raise last

    def _line(self, node: Node) -> SyncLine:
        if node not in self._lines:
            self._lines[node] = self._connect(node)
        return self._lines[node]
