"""The one place where anything is taken away: events are committed here, in one script, in one slot (`DESIGN.md` 3.5)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from broker.errors import Retired, Unavailable
from broker.feed import acts
from broker.feed.activated import Activated
from broker.feed.event import NewEvent, new_event
from broker.store import Store, feed_key
from broker.store.command import Argument

KEYS = tuple(feed_key(part) for part in ("epoch", "log", "live", "ends", "standing"))
ACTIVE = feed_key("active")
ACTIVATE_KEYS = (*KEYS[:2], ACTIVE)


_SAID_ONCE = 10


class Committed(NamedTuple):
    """Where events stand in the log: the number of the last of them, in which epoch."""

    epoch: str
    seq: int


class Life(NamedTuple):
    """The epoch that the store is in, the life of the server that it belongs to, and the number of its last event."""

    epoch: str
    run_id: str
    seq: int


class OwnPlace(NamedTuple):
    """Where what this worker committed stands, and the id of the event there, where that is known."""

    epoch: str
    seq: int
    id: str


class InForce(NamedTuple):
    """Which configuration is in force, and the place in the log at which it came."""

    id: str
    place: Committed


class Worker(NamedTuple):
    """A worker of any replica: the milliseconds since its last beat, and the id of the configuration that it decides by."""

    id: str
    silent: int
    configuration: str


class Log:
    """Commits events. To commit one again, by its id, changes nothing and gives the same answer.

    `latest` is the highest place that this worker was given: a log that lacks it was lost or rolled back.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.latest: OwnPlace | None = None
        self._append = store.script("broker.feed", "append", even_when_full=True)
        self._activate, self._working = (
            store.script("broker.feed", name, even_when_full=True) for name in ("activate", "working")
        )

    async def read(self, after: int, *, most: int) -> list[tuple[int, NewEvent]]:
        """Return the events that follow a number, with their numbers, at most so many; later ones where the log was trimmed."""
        entries = await self._store.call("XRANGE", feed_key("log"), f"({after}-0", "+", "COUNT", most)
        return [(int(id.partition(b"-")[0]), msgspec.json.decode(fields[3], type=NewEvent)) for id, fields in entries]

    async def life(self) -> Life:
        """Return what the store itself says of its life; without an epoch, all of it is empty."""
        id, run_id, seq = await self._store.call("HMGET", feed_key("epoch"), "id", "run_id", "seq")
        return Life(id.decode(), run_id.decode(), int(seq)) if id is not None else Life("", "", -1)

    async def append(self, epoch: str, events: Sequence[NewEvent], *, configuration: str | None = None) -> Committed:
        """Commit all the events in one atomic step; raise `Unavailable` where that is not certain.

        Not certain means: the store did not confirm, or a new epoch has begun and the caller has to look again; or another
        than the `configuration` is in force, where one is named. Raises `Retired` for the lifting of what is for good: nothing
        is committed then.
        """
        keys, whose = (KEYS, ()) if configuration is None else ((*KEYS, ACTIVE), (configuration,))
        seq = await self._store.run(self._append, keys, [epoch, *whose, *arguments_of(events)])
        if seq is None:
            raise _lost()
        if seq == -1:
            said = "another configuration came into force while this was decided; ask again"
            raise Unavailable(said, reason="configuration_pending", retry_after=1)
        if seq == 0:
            raise Retired("it is retired, and that is for good")
        # Of several, some may have been overtaken, so that it is not known which one stands there.
        own = OwnPlace(epoch, int(seq), events[0].id if len(events) == 1 else "")
        self.latest = max(self.latest or own, own)
        return Committed(epoch, int(seq))

    async def activate(self, epoch: str, activated: Activated, *, instead_of: str, now: int) -> InForce:
        """Put a configuration into force in one atomic step, if the one of the id `instead_of` is; return which one is then.

        Raises `Unavailable` where that is not certain.
        """
        reply = await self._store.run(
            self._activate, ACTIVATE_KEYS, activation(epoch, activated, instead_of=instead_of, now=now)
        )
        if reply is None:
            raise _lost()
        id, known_epoch, seq = (part.decode() if part is not None else "" for part in reply)
        return InForce(id, Committed(known_epoch, int(seq or 0)))

    async def workers(self) -> list[Worker]:
        """Return every worker that has beaten in the last minute."""
        time, *reply = await self._store.run(self._working, [feed_key("beats"), feed_key("working")], [])
        return [Worker(id.decode(), time - beat, by.decode()) for id, beat, by in zip(*[iter(reply)] * 3, strict=True)]

    async def is_first_to_reject(self, change: str) -> bool:
        """Tell whether nobody else has said of this change of files, in the last seconds, that it broke them."""
        # Workers that share a folder look at it within a second or two of each other.
        key = feed_key(f"rejected:{change}")
        return await self._store.call("SET", key, "", "NX", "EX", _SAID_ONCE) is not None


def activation(epoch: str, activated: Activated, *, instead_of: str, now: int) -> list[Argument]:
    """Write an activation as `activate.lua` takes it."""
    event = msgspec.structs.replace(new_event("configuration", activated.digest, now=now), id=activated.id)
    return [
        epoch,
        instead_of,
        activated.id,
        msgspec.json.encode(event),
        activated.origin,
        activated.digest,
        activated.text,
    ]


def _lost() -> Unavailable:
    return Unavailable("the store was lost or restarted meanwhile; nothing was committed, try again", retry_after=1)


def arguments_of(events: Iterable[NewEvent]) -> list[Argument]:
    """Write events as `append.lua` takes them."""
    return [part for event in events for part in (event.id, event.until, msgspec.json.encode(event), *_standing(event))]


def _standing(event: NewEvent) -> tuple[str, str | int, str, str | int]:
    if not acts.is_act(event):
        return "", "", "", ""
    return acts.target_of(event), acts.rank(event), *(event.origin or ("", ""))
