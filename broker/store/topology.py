"""Which master of a cluster owns which slot."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis
from redis.crc import key_slot

from broker.store.address import Node
from broker.store.command import FEED, pack

QUESTION = pack("CLUSTER", "SLOTS")

_DOUBTS = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ClusterError,
    redis.exceptions.AskError,
    redis.exceptions.ReadOnlyError,
    OSError,
)

SLOTS = 16_384
"""The number of slots of any Redis Cluster."""


class Topology(NamedTuple):
    """One node's view of the cluster: the owner of each slot."""

    owners: tuple[Node, ...]

    @property
    def masters(self) -> tuple[Node, ...]:
        """Every master that owns a slot, that of the feed first."""
        feed = self.owner(FEED)
        return (feed, *sorted(set(self.owners) - {feed}))

    def owner(self, key: str) -> Node:
        """Return the master that owns a key."""
        return self.owners[key_slot(key.encode())]


def read(answer: Any, asked: Node) -> Topology:
    """Read an answer to the question; raise `ClusterDownError` where a slot has no owner.

    A node that does not know its own address is the one that was asked.
    """
    if isinstance(answer, Exception):
        raise answer
    owners: list[Node | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_ in answer:
        owners[first : last + 1] = [(_host(host) or asked[0], int(port))] * (last + 1 - first)
    found = tuple(owner for owner in owners if owner is not None)
    if len(found) != SLOTS:
        raise redis.exceptions.ClusterDownError("CLUSTERDOWN a slot has no owner")
    return Topology(found)


def life_of(run_ids: Iterable[str]) -> str:
    """Return one text for the lives of all masters: another as soon as one of them is another."""
    known = sorted(run_ids)
    return hashlib.sha256(" ".join(known).encode()).hexdigest()[:40] if known and all(known) else ""


def asked_in_turn(known: Sequence[Node], seeds: Sequence[Node]) -> list[Node]:
    """Return whom to ask for the topology: those known, then those of the URL, each once."""
    return list(dict.fromkeys([*known, *seeds]))


def is_doubted_by(answer: Any) -> bool:
    """Tell whether an answer says that the topology may be another by now."""
    return isinstance(answer, _DOUBTS)


def _host(name: bytes | None) -> str:
    return name.decode() if name else ""
