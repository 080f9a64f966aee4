"""Every master of a Redis Cluster with a line of its own, for the event loop (`DESIGN.md` 3.14).

The library's cluster pipeline refuses scripts, so commands are grouped by node here: each goes to the line of its key's
owner, and those that wait there at the same moment share a round trip.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import redis

from broker.store import info, topology
from broker.store.address import Node
from broker.store.line import Line
from broker.store.topology import Topology
from scopes.clock import Clock, Instant, SystemClock

LOOK_EVERY = 1_000
"""The milliseconds after which every master is asked again who it is, before anything else is asked of any."""


class Cluster:
    """Asks the owner of a key. A command that was answered MOVED did not run, so it is asked once more where it belongs."""

    def __init__(self, seeds: tuple[Node, ...], connect: Callable[[Node], Line], *, clock: Clock | None = None) -> None:
        """Learn the masters from `seeds`; `connect` makes the line to one of them."""
        self._seeds = seeds
        self._connect = connect
        self._clock = clock or SystemClock()
        self._lines: dict[Node, Line] = {}
        self._topology: Topology | None = None
        self._looked: Instant | None = None
        self._looking: asyncio.Task[Exception | None] | None = None

    @property
    def run_id(self) -> str:
        """The lives of all masters as one text; empty while one of them is not known."""
        if self._topology is None:
            return ""
        return topology.life_of(self._lines[node].run_id for node in self._topology.masters)

    async def ask(self, key: str, packed: bytes, *, writes: bool) -> Any:
        """Ask the master that owns the key; return the answer, or the error in its place."""
        answer = await self._ask_owner(key, packed, writes=writes)
        if isinstance(answer, redis.exceptions.MovedError):
            answer = await self._ask_owner(key, packed, writes=writes)
        return answer

    async def close(self) -> None:
        """Close every connection."""
        for line in self._lines.values():
            await line.close()

    async def _ask_owner(self, key: str, packed: bytes, *, writes: bool) -> Any:
        try:
            owner = (await self._known()).owner(key)
        except (redis.exceptions.RedisError, OSError) as error:
            return error
        answer = await self._line(owner).ask(key, packed, writes=writes)
        if topology.is_doubted_by(answer):
            self._looked = None
        return answer

    async def _known(self) -> Topology:
        """Return who owns what; look again where that is not known, was doubted, or is old."""
        if self._looked is None or self._clock.now().since(self._looked) > LOOK_EVERY:
            # One look for all who wait: where a node does not answer, each of them would wait for it anew.
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._try_to_look())
            error = await asyncio.shield(self._looking)
            if error is not None:
                raise error
        assert self._topology is not None
        return self._topology

    async def _try_to_look(self) -> Exception | None:
        try:
            await self._look()
        except (redis.exceptions.RedisError, OSError) as error:
            return error
        return None

    async def _look(self) -> None:
        self._looked = None
        found = await self._ask_topology()
        lives = await asyncio.gather(*(self._line(node).ask("", info.LIFE_QUESTION, writes=False) for node in found.masters))
        for node, life in zip(found.masters, lives, strict=True):
            if isinstance(life, Exception):
                raise life
            self._line(node).run_id = info.life(life)
        self._topology, self._looked = found, self._clock.now()
        for node in set(self._lines) - set(found.masters):
            await self._lines.pop(node).close()

    async def _ask_topology(self) -> Topology:
        known = self._topology.masters if self._topology is not None else ()
        last: Exception = redis.exceptions.ClusterDownError("CLUSTERDOWN nobody knows the cluster")
        for node in topology.asked_in_turn((*known, *self._lines), self._seeds):
            try:
                return topology.read(await self._line(node).ask("", topology.QUESTION, writes=False), node)
            except (redis.exceptions.RedisError, OSError) as error:
                last = error
        raise last

    def _line(self, node: Node) -> Line:
        if node not in self._lines:
            self._lines[node] = self._connect(node)
        return self._lines[node]
