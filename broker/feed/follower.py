"""Follows the log in a thread of its own, writes the worker's beat, and holds the worker's picture (`DESIGN.md` 3.6–3.9).

One script reads the time, the head and the events up to it, so what a heartbeat vouches for is what was read when it was
read: a worker stopped for five seconds in between shows a picture that is five seconds old.
"""

from typing import Any

import msgspec

from broker import ulid
from broker.errors import Unavailable
from broker.feed.epoch_file import EpochFile
from broker.feed.event import NewEvent
from broker.feed.log import KEYS
from broker.feed.streams import LiveEvent, Streams
from broker.store import SyncStore, feed_key
from scopes.background import Background
from scopes.clock import Clock, Instant
from scopes.revocations import Message, Picture, Place, Snapshot

BEAT = 200
"""The milliseconds between two beats of a worker; an event ends the wait at once."""

MAX_AGE = 1_000
"""The milliseconds by which a worker's picture may be old while it still issues."""

_LARGEST_READ = 1_000
_EPOCH, _LOG, _LIVE, _ENDS = KEYS
_AFTER_FAILURE = 0.2


class Standpoint(msgspec.Struct, frozen=True):
    """From where a decision is taken: one picture, and the life of the store in which it is the truth."""

    picture: Picture
    run_id: str


class Follower:
    """Keeps `Streams` and its picture up to date for one worker."""

    def __init__(self, *, store: SyncStore, streams: Streams, clock: Clock, memory: EpochFile) -> None:
        self._store = store
        self._streams = streams
        self._clock = clock
        self._memory = memory
        self._worker = ulid.new(clock.now().wall)
        self._known_epoch = memory.read()
        self._run_id = ""
        self._begin, self._beat, self._snapshot = (
            store.script("broker.feed", name, even_when_full=True) for name in ("begin", "beat", "snapshot")
        )
        self._background = Background("feed-follower", self.step)

    def start(self) -> None:
        """Begin to follow in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread and its connection."""
        self._background.stop()
        self._background.join()
        self._store.close()

    def standpoint(self) -> Standpoint:
        """Return the present picture; raise `Unavailable` if it is too old to decide on."""
        standpoint = Standpoint(self._streams.picture, self._run_id)
        if not self.is_current():
            raise Unavailable("this worker has not heard from the store for a second, so it decides nothing", retry_after=1)
        return standpoint

    def is_current(self) -> bool:
        """Tell whether the worker's picture is young enough to decide on."""
        return self._streams.picture.is_fresh(self._clock.now(), bound=MAX_AGE)

    def step(self) -> float:
        """Wait for news at most one beat, then read them; return the seconds until the next step."""
        try:
            if self._run_id:
                self._store.call("XREAD", "BLOCK", BEAT, "STREAMS", _LOG, f"{self._streams.picture.seq}-0")
            self.catch_up()
        except Unavailable:
            self._run_id = ""
            return _AFTER_FAILURE
        return 0.0

    def catch_up(self) -> None:
        """Read what is new, or everything where this worker does not know where it stands; raise `Unavailable`."""
        if self._run_id:
            self._read_news()
        if not self._run_id:
            self._read_everything()

    def _read_news(self) -> None:
        picture, received = self._streams.picture, self._clock.now()
        reply = self._beat_from(picture)
        if not self._is_same_life(reply, picture):
            self._run_id = ""
            return
        news = [_live(seq, event) for seq, _, event in zip(reply[6::3], reply[7::3], reply[8::3], strict=True)]
        moved = self._moved(picture, reply, news, received)
        if moved is not picture:
            self._streams.publish(moved, news)

    def _beat_from(self, picture: Picture) -> list[Any]:
        keys = (_EPOCH, _LOG, feed_key("beats"))
        reply: list[Any] = self._store.run(self._beat, keys, (self._worker, picture.seq, picture.id, _LARGEST_READ))
        return reply

    def _is_same_life(self, reply: list[Any], picture: Picture) -> bool:
        """Tell whether the store still holds this epoch, on this server, with the worker's place in its log."""
        if len(reply) == 1:
            return False
        return _text(reply[1]) == picture.epoch and _text(reply[2]) == self._store.run_id == self._run_id and reply[5] == 1

    def _moved(self, picture: Picture, reply: list[Any], news: list[LiveEvent], received: Instant) -> Picture:
        head = Place(seq=reply[3], id=_text(reply[4]))
        as_of = reply[0]
        if news and news[-1].seq < head.seq:
            # There is more than one reading holds: what was read is true, and vouches for no later moment.
            head, as_of = Place(seq=news[-1].seq, id=news[-1].event.id), picture.as_of
        message = Message(
            iss="",
            aud="",
            epoch=picture.epoch,
            seq=head.seq,
            id=head.id,
            prev=Place(seq=picture.seq, id=picture.id),
            as_of=as_of,
            events=tuple(live.event.numbered(live.seq) for live in news),
        )
        return picture.apply(message, received)

    def _read_everything(self) -> None:
        received = self._clock.now()
        lost = self._has_lost(self._streams.picture)
        reply = self._store.run(self._snapshot, (_EPOCH, _LIVE), ())
        epoch = _text(reply[1]) if len(reply) > 1 else ""
        if lost or not epoch or _text(reply[2]) != self._store.run_id or epoch < self._known_epoch:
            self._begin_epoch(epoch, received)
            return
        live = [_live(int(seq), event) for seq, event in (entry.split(b" ", 1) for entry in reply[5:])]
        picture = _picture(reply, live, received)
        if not picture.epoch:
            # Better the place where this worker stood than none: it is by that place that a loss of the log is noticed.
            raise Unavailable("the store's clock is more than a second ahead of this worker's", retry_after=1)
        self._remember(epoch)
        self._streams.restart(picture, live)
        self._run_id = self._store.run_id

    def _has_lost(self, picture: Picture) -> bool:
        """Tell whether the log of this epoch lacks, or has otherwise, the place where this worker has been."""
        if not picture.epoch:
            return False
        reply = self._beat_from(picture)
        return len(reply) > 1 and _text(reply[1]) == picture.epoch and reply[5] == -1

    def _begin_epoch(self, seen: str, received: Instant) -> None:
        epoch = ulid.above(max(seen, self._known_epoch), received.wall)
        self._store.run(self._begin, KEYS, (seen, epoch, self._store.run_id))
        self._read_everything()

    def _remember(self, epoch: str) -> None:
        if epoch != self._known_epoch:
            self._memory.write(epoch)
            self._known_epoch = epoch


def _picture(reply: list[Any], live: list[LiveEvent], received: Instant) -> Picture:
    snapshot = Snapshot(
        iss="",
        aud="",
        epoch=_text(reply[1]),
        seq=reply[3],
        id=_text(reply[4]),
        as_of=reply[0],
        events=tuple(entry.event.numbered(entry.seq) for entry in live),
    )
    return Picture().adopt(snapshot, received)


def _live(seq: int, event: bytes) -> LiveEvent:
    return LiveEvent(int(seq), msgspec.json.decode(event, type=NewEvent))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
