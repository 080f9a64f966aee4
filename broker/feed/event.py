"""What is committed to the log: an event, and which audiences it concerns."""

import msgspec

from scopes import ulid
from scopes.event_index import Event

GRACE = 60_000
"""The milliseconds an event outlives the last token it can hit, so that no clock within its skew forgets it too early."""

LONGEST_LIFE = 3_600_000
"""The milliseconds the longest token can live, for events that hit tokens nobody enumerates."""

NO_END = 253_402_300_799_000
"""The last moment of the year 9999 (milliseconds), for the end of a key: whoever stole it signs any `exp` he likes."""

LIFT = "lift"
_FOR_BROKERS_ONLY = frozenset({"label", "configuration", LIFT})


class NewEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event before it has its number. `until` is milliseconds; no `audiences` means that it concerns every service.

    With `stands`, it outlives the store, until it is lifted or replaced: `by` and `said` tell operators who wanted it and
    why. `origin` is the epoch and number under which it was first committed, where that was in an earlier epoch. `life` is
    `suspended` or `retired` where it is that and no reduction that stands, and `agent` whose instance it is about.
    """

    id: str
    kind: str
    until: int
    value: str = ""
    audiences: tuple[str, ...] | None = None
    above: str | None = None
    unapproved: bool = False
    stands: bool = False
    origin: tuple[str, int] | None = None
    by: str = ""
    said: str = ""
    life: str = ""
    agent: str = ""

    def numbered(self, seq: int) -> Event:
        """Return the event as it goes over the wire."""
        return Event(
            seq=seq,
            id=self.id,
            kind=self.kind,
            until=self.until,
            value=self.value,
            above=self.above,
            unapproved=self.unapproved,
        )

    def concerns(self, audience: str) -> bool:
        """Tell whether a verifier of this audience needs the event."""
        return self.kind not in _FOR_BROKERS_ONLY and (self.audiences is None or audience in self.audiences)


def new_event(
    kind: str, value: str = "", *, now: int, expires: int | None = None, audiences: tuple[str, ...] | None = None
) -> NewEvent:
    """Make an event; `expires` (milliseconds) is the latest expiry it can hit, where that is known."""
    until = (expires if expires is not None else now + LONGEST_LIFE) + GRACE
    return NewEvent(id=f"evt_{ulid.new(now)}", kind=kind, until=until, value=value, audiences=audiences)
