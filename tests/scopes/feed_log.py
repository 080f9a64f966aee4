"""The log of an issuer, and what its feed says of it to one audience."""

from scopes.clock import Clock
from scopes.revocations import Event, Message, Place, Snapshot
from tests.scopes.tokens import AUDIENCE, EPOCH, ISSUER, POSITION

HOUR = 3_600_000


class FeedLog:
    """One epoch of a log after another; what is committed here is told at the time of `clock`."""

    def __init__(self, clock: Clock, *, issuer: str = ISSUER, epoch: str = EPOCH) -> None:
        self._clock = clock
        self._named = {"iss": issuer, "aud": AUDIENCE}
        self.epoch = epoch
        self.events: list[Event] = []
        self.head = Place(seq=POSITION, id=f"evt_{epoch}_{POSITION}")

    def commit(self, kind: str, value: str = "", *, until: int | None = None, **narrowed: object) -> Message:
        """Append an event and return the message that tells it."""
        place = self._next()
        end = until if until is not None else self._clock.now().wall + HOUR
        event = Event(seq=place.seq, id=place.id, kind=kind, value=value, until=end, **narrowed)  # type: ignore[arg-type]
        self.events.append(event)
        return self._told(place, event)

    def skip(self) -> Message:
        """Append an event that concerns somebody else: of it this audience learns only that the log went on."""
        return self._told(self._next())

    def heartbeat(self) -> Message:
        """Say that nothing has happened since."""
        return self._told(self.head)

    def snapshot(self) -> Snapshot:
        """Say all that has ended."""
        return Snapshot(**self._named, **self._where(), events=tuple(self.events))

    def begin_epoch(self, epoch: str) -> None:
        """Lose the store: the numbers start again, and nothing of it is remembered."""
        self.epoch = epoch
        self.events = []
        self.head = Place(seq=0, id=f"evt_{epoch}_0")

    def _next(self) -> Place:
        return Place(seq=self.head.seq + 1, id=f"evt_{self.epoch}_{self.head.seq + 1}")

    def _told(self, place: Place, *events: Event) -> Message:
        before, self.head = self.head, place
        return Message(**self._named, **self._where(), prev=before, events=events)

    def _where(self) -> dict[str, object]:
        return {"epoch": self.epoch, "seq": self.head.seq, "id": self.head.id, "as_of": self._clock.now().wall}
