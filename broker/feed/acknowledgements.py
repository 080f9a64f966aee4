"""What verifier processes have acknowledged, and where the log stands against it.

Kept in the slot of the feed, for each audience: a process, its newest place, and when it came to its latest places. Nothing is
decided by it; it is shown to operators. A place counts only where the log holds it, so nobody is ahead of what was revoked.
"""

from typing import Annotated, NamedTuple

import msgspec

from broker.errors import LimitReached
from broker.feed.event import NewEvent
from broker.store import Store, feed_key

ANONYMOUS = "anonymous"
"""Who acknowledges without an identity, where anyone may follow the feed."""

MOST_PROCESSES = 1_000
"""How many processes of one audience are kept, so that a service that invents names does not fill the store."""

SILENCE = 300_000
"""The milliseconds after which a process that is not heard is forgotten; much longer than any is allowed to know nothing."""

EVERY_VERSION = frozenset({"fields", "proof", "certificate"})
"""What a process enforces that does not say what: so did every version of the library that did not."""

_MOST_MOVES = 32
_MOST_NAMES = 16
_UNSAID = "-"

Name = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z_-]{8,64}\Z")]
Version = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z.+_-]{1,32}\Z")]
Id = Annotated[str, msgspec.Meta(max_length=64)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
ConstraintName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z_]{0,31}\Z")]
"""A later library may enforce what this broker does not know."""


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a process says: up to which place it enforces, and when that was vouched for (milliseconds); or that it leaves.

    `waited` is the milliseconds for which it has enforced that place already: telling so can wait, enforcing cannot.
    `enforces` are the constraints that it holds tokens to.
    """

    verifier: Name
    aud: str
    epoch: Id
    seq: Number
    id: Id
    as_of: Number
    version: Version
    enforces: Annotated[tuple[ConstraintName, ...], msgspec.Meta(max_length=_MOST_NAMES)] | None = None
    waited: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    leaving: bool = False


class Process(NamedTuple):
    """A verifier process as it was heard: `first` and `last` are milliseconds by the store's clock, as are those of `moves`.

    Without a place that counts, `epoch` is empty and `seq` is -1. `enforces` are the constraints that it holds tokens to.
    """

    workload: str
    id: str
    epoch: str
    seq: int
    as_of: int
    first: int
    last: int
    version: str
    moves: tuple[tuple[int, int], ...]
    enforces: frozenset[str] = EVERY_VERSION

    def reached(self, seq: int) -> int | None:
        """Return when this place of its epoch was first acknowledged, or `None` where that is not kept any more."""
        for number, (place, time) in enumerate(self.moves):
            if place >= seq:
                return time if number or len(self.moves) < _MOST_MOVES else None
        return None


class Position(NamedTuple):
    """Where the log stands, and at which time of the store; without an epoch, nothing is known."""

    time: int
    epoch: str = ""
    seq: int = -1


class Logged(NamedTuple):
    """An event that can still end a token, and when it was committed by the store's clock, or a little later."""

    position: Position
    seq: int
    event: NewEvent
    committed: int


class Acknowledgements:
    """Keeps what was acknowledged, and finds what it is about."""

    def __init__(self, store: Store, *, anyone_follows: bool) -> None:
        """Keep them in the store; where not `anyone_follows`, those of nobody in particular are not believed."""
        self._store = store
        self._anyone_follows = anyone_follows
        # What is kept is bounded; and whether a revocation holds is asked most when something is wrong.
        self._acknowledge = store.script("broker.feed", "acknowledge", even_when_full=True)
        self._find = store.script("broker.feed", "find")

    async def take(self, said: Acknowledgement, workload: str) -> bool:
        """Keep that the process was heard; return whether its place counts. Raises `LimitReached`, `Unavailable`."""
        keys = (feed_key("epoch"), feed_key("log"), *_keys(said.aud))
        place = (said.epoch, said.seq, said.id, said.as_of, said.version, int(said.leaving))
        process = f"{workload}/{said.verifier}"
        enforces = ",".join(sorted(set(said.enforces))) if said.enforces is not None else _UNSAID
        counts = await self._store.run(
            self._acknowledge, keys, (process, *place, MOST_PROCESSES, SILENCE, said.waited, enforces)
        )
        if counts < 0:
            message = f"{MOST_PROCESSES} verifier processes of this service are known; no other is kept until one is gone"
            raise LimitReached(message, reason="verifier_processes", retry_after=int(SILENCE / 1000))
        return bool(counts)

    async def position(self) -> Position:
        """Return where the log stands."""
        reply = await self._store.run(self._find, _FIND_KEYS, ("",))
        return _position(reply)

    async def find(self, id: str) -> Logged | None:
        """Return an event that can still end a token, if there is one of this id."""
        reply = await self._store.run(self._find, _FIND_KEYS, (id,))
        if len(reply) <= len(Position._fields):
            return None
        seq, event = reply[3].split(b" ", 1)
        return Logged(_position(reply), int(seq), msgspec.json.decode(event, type=NewEvent), reply[4])

    async def processes(self, audience: str, *, now: int) -> list[Process]:
        """Return the processes of an audience that were heard in the last minutes before `now` (milliseconds), by name."""
        known = [_process(row.decode()) for row in await self._store.call("HVALS", _keys(audience)[0])]
        believed = [process for process in known if self._anyone_follows or process.workload != ANONYMOUS]
        return sorted((process for process in believed if process.last >= now - SILENCE), key=lambda process: process[:2])


_FIND_KEYS = tuple(feed_key(part) for part in ("epoch", "log", "live"))


def _keys(audience: str) -> tuple[str, str]:
    return feed_key(f"verifiers:{audience}"), feed_key(f"heard:{audience}")


def _position(reply: list[bytes | int]) -> Position:
    time, *rest = reply
    return Position(int(time), _text(rest[0]), int(rest[1])) if rest else Position(int(time))


def _process(row: str) -> Process:
    # A worker of before writes what it knows, without the constraints.
    name, epoch, seq, as_of, first, last, version, moves, enforces = (*row.split(" "), _UNSAID)[:9]
    workload, _, id = name.rpartition("/")
    pairs = [move.split(":") for move in moves.split(",") if move]
    return Process(
        workload=workload,
        id=id,
        epoch=epoch.strip("-"),
        seq=int(seq),
        as_of=int(as_of),
        first=int(first),
        last=int(last),
        version=version,
        moves=tuple((int(place), int(time)) for place, time in pairs),
        enforces=EVERY_VERSION if enforces == _UNSAID else frozenset(filter(None, enforces.split(","))),
    )


def _text(value: bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
