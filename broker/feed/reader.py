"""Reads the log as one worker does: its beat with the news, or everything there is, each in one atomic step."""

from typing import Any, NamedTuple

import msgspec

from broker.feed import acts
from broker.feed.activated import Activated
from broker.feed.acts import Act, Acts
from broker.feed.event import NewEvent
from broker.feed.log import ACTIVATE_KEYS, ACTIVE, KEYS, activation, arguments_of
from broker.feed.streams import LiveEvent
from broker.store import SyncStore, feed_key
from scopes.revocations import Place

HELD, TRIMMED, LOST = 1, 0, -1
"""Whether the log holds the place where a worker stands, has trimmed it away, or holds another there or nothing."""

LARGEST_READ = 1_000
"""How many events one beat brings."""

_EPOCH, _LOG, _LIVE, _ENDS, _STANDING = KEYS
_KEPT = ("id", "origin", "digest", "text", "epoch", "seq")


class Head(NamedTuple):
    """Where the log stands. `as_of` is the time of reading, `opens` when the epoch begins to issue, both ms by the store."""

    as_of: int
    epoch: str
    run_id: str
    place: Place
    opens: int


class Beat(NamedTuple):
    """What a worker's beat brought; `head` is `None` where the store knows no epoch."""

    head: Head | None
    standing: int
    news: list[LiveEvent]


class Everything(NamedTuple):
    """All that is alive, all that stands, and what is in force; `head` is `None` where the store knows no epoch."""

    head: Head | None
    live: list[LiveEvent]
    acts: Acts
    activated: Activated | None


class LogReader:
    """The log through one connection. Every method raises `Unavailable` where the store does not answer."""

    def __init__(self, store: SyncStore) -> None:
        self._store = store
        self._begin, self._beat, self._snapshot, self._append, self._activate = (
            store.script("broker.feed", name, even_when_full=True)
            for name in ("begin", "beat", "snapshot", "append", "activate")
        )

    @property
    def run_id(self) -> str:
        """The life of the server to which the connection goes."""
        return self._store.run_id

    @property
    def is_alone(self) -> bool:
        """Tell whether no other worker can use this store."""
        return self._store.is_embedded

    def wait(self, seq: int, milliseconds: int) -> None:
        """Wait until there is something after `seq`, at most so long."""
        self._store.call("XREAD", "BLOCK", milliseconds, "STREAMS", _LOG, f"{seq}-0")

    def beat(self, worker: str, place: Place, *, in_force: str) -> Beat:
        """Write the worker's beat, with what it decides by; read the time, the head, and what came after the worker's place."""
        keys = (_EPOCH, _LOG, feed_key("beats"), feed_key("working"))
        arguments = (worker, place.seq, place.id, LARGEST_READ, in_force)
        reply = self._store.run(self._beat, keys, arguments)
        head = _head(reply)
        if head is None:
            return Beat(None, LOST, [])
        return Beat(head, reply[6], [_live(seq, event) for seq, event in zip(reply[7::2], reply[8::2], strict=True)])

    def everything(self) -> Everything:
        """Read all that is alive and all that stands."""
        reply = self._store.run(self._snapshot, (_EPOCH, _LIVE, _STANDING, ACTIVE), _KEPT)
        head = _head(reply)
        if head is None:
            return Everything(None, [], {}, None)
        first_act = 8 + reply[7]
        live = [_live(int(seq), event) for seq, event in (entry.split(b" ", 1) for entry in reply[8:first_act])]
        return Everything(head, live, acts.merged(map(_act, reply[first_act:])), _activated(reply[6]))

    def activated(self) -> Activated | None:
        """Read which configuration is in force."""
        return _activated(self._store.call("HMGET", ACTIVE, *_KEPT))

    def activate(self, epoch: str, activated: Activated, *, instead_of: str, now: int) -> None:
        """Put a configuration into force, if the one of the id `instead_of` is."""
        self._store.run(self._activate, ACTIVATE_KEYS, activation(epoch, activated, instead_of=instead_of, now=now))

    def begin(self, seen: str, epoch: str, *, wait: int, act: Act | None = None) -> bool:
        """Begin an epoch, unless another than `seen` is in force; tell whether it is the one in force now.

        Nothing is issued in it for `wait` milliseconds; an `act` stands in it from the beginning.
        """
        standing = (act.target, _text_of(act)) if act is not None else ("", "")
        reply = self._store.run(self._begin, KEYS, (seen, epoch, self.run_id, wait, *standing))
        return _text(reply) == epoch

    def add(self, epoch: str, news: list[NewEvent]) -> None:
        """Commit what is known of earlier epochs."""
        self._store.run(self._append, KEYS, (epoch, *arguments_of(news)))

    def close(self) -> None:
        """Close the connection."""
        self._store.close()


def _head(reply: list[Any]) -> Head | None:
    if len(reply) == 1:
        return None
    return Head(reply[0], _text(reply[1]), _text(reply[2]), Place(seq=reply[3], id=_text(reply[4])), reply[5])


def _live(seq: int, event: bytes) -> LiveEvent:
    return LiveEvent(seq, msgspec.json.decode(event, type=NewEvent))


def _text_of(act: Act) -> bytes:
    return b"%s %d %d %s" % (act.epoch.encode(), act.seq, acts.rank(act.event), msgspec.json.encode(act.event))


def _act(text: bytes) -> Act:
    epoch, seq, _, event = text.split(b" ", 3)
    return Act(epoch.decode(), int(seq), msgspec.json.decode(event, type=NewEvent))


def _activated(kept: list[bytes | None]) -> Activated | None:
    if None in kept:
        return None
    # What is no text is nothing that somebody signed, and is refused by whoever verifies it.
    id, origin, digest, text, epoch, seq = (part.decode(errors="replace") for part in kept if part is not None)
    return Activated(id, origin, digest, text, epoch, int(seq) if seq.isdecimal() else 0)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
