"""The one place where anything is taken away: events are committed here, in one script, in one slot (`DESIGN.md` 3.5)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from broker.errors import Retired, Unavailable
from broker.feed import acts
from broker.feed.event import NewEvent
from broker.store import Store, feed_key
from broker.store.command import Argument

KEYS = tuple(feed_key(part) for part in ("epoch", "log", "live", "ends", "standing"))


class Committed(NamedTuple):
    """Where events stand in the log: the number of the last of them, in which epoch."""

    epoch: str
    seq: int


class Log:
    """Commits events. To commit one again, by its id, changes nothing and gives the same answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._append = store.script("broker.feed", "append", even_when_full=True)

    async def read(self, after: int, *, most: int) -> list[tuple[int, NewEvent]]:
        """Return the events that follow a number, with their numbers, at most so many; later ones where the log was trimmed."""
        entries = await self._store.call("XRANGE", feed_key("log"), f"({after}-0", "+", "COUNT", most)
        return [(int(id.partition(b"-")[0]), msgspec.json.decode(fields[3], type=NewEvent)) for id, fields in entries]

    async def append(self, epoch: str, events: Sequence[NewEvent]) -> Committed:
        """Commit all the events in one atomic step; raise `Unavailable` where that is not certain.

        Not certain means: the store did not confirm, or a new epoch has begun and the caller has to look again. Raises
        `Retired` for the lifting of what is for good: nothing is committed then.
        """
        seq = await self._store.run(self._append, KEYS, [epoch, *arguments_of(events)])
        if seq is None:
            raise Unavailable("the store was lost or restarted meanwhile; nothing was committed, try again", retry_after=1)
        if seq == 0:
            raise Retired("it is retired, and that is for good")
        return Committed(epoch, int(seq))


def arguments_of(events: Iterable[NewEvent]) -> list[Argument]:
    """Write events as `append.lua` takes them."""
    return [part for event in events for part in (event.id, event.until, msgspec.json.encode(event), *_standing(event))]


def _standing(event: NewEvent) -> tuple[str, str | int, str, str | int]:
    if not acts.is_act(event):
        return "", "", "", ""
    return acts.target_of(event), acts.rank(event), *(event.origin or ("", ""))
