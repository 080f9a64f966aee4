"""Follows the log in a thread of its own, writes the worker's beat, and holds the worker's picture (`DESIGN.md` 3.6–3.9).

One script reads the time, the head and the events up to it, so what a heartbeat vouches for is what was read when it was
read: a worker stopped for five seconds in between shows a picture that is five seconds old.
"""

import logging
from collections.abc import Callable

import msgspec

from broker.errors import Unavailable
from broker.feed import acts
from broker.feed.activated import Activated, Configurations, latest_of
from broker.feed.acts import Act, Acts
from broker.feed.epoch_file import EpochFile
from broker.feed.journal import Journal
from broker.feed.log import OwnPlace
from broker.feed.reader import HELD, LOST, Beat, Everything, Head, LogReader
from broker.feed.streams import LiveEvent, Streams
from broker.store import SyncStore
from scopes import ulid
from scopes.background import Background
from scopes.clock import Clock, Instant
from scopes.revocations import Message, Picture, Place, Snapshot

BEAT = 200
"""The milliseconds between two beats of a worker; an event ends the wait at once."""

MAX_AGE = 1_000
"""The milliseconds by which a worker's picture may be old while it still issues."""

MERGE_TIME = 3_000
"""The milliseconds at the start of an epoch in which nothing is issued, for every worker to add what it knows to stand."""

_AFTER_FAILURE = 0.2
_LOG = logging.getLogger(__name__)


class Standpoint(msgspec.Struct, frozen=True):
    """From where a decision is taken: one picture with all that stands in it, and the life of the store of which it is true.

    `configuration` is the id of the activation that is in force in it; empty where none is known.
    """

    picture: Picture
    acts: Acts
    run_id: str
    configuration: str


class Follower:
    """Keeps `Streams`, its picture and the journal up to date for one worker.

    `acts` is what stands as far as this worker knows, and `activated` the configuration in force; `unrecorded` are the epochs
    that it began and that no audit record tells of yet.
    """

    def __init__(
        self,
        *,
        store: SyncStore,
        streams: Streams,
        clock: Clock,
        memory: EpochFile,
        journal: Journal,
        configurations: Configurations,
        on_beat: Callable[[], None] = lambda: None,
        committed: Callable[[], OwnPlace | None] = lambda: None,
    ) -> None:
        """Prepare to follow; `on_beat` is called before every look at the log, and may raise `Unavailable`.

        `committed` returns the highest place in the log that this worker was given for what it committed.
        """
        self._reader = LogReader(store)
        self._streams = streams
        self._clock = clock
        self._memory = memory
        self._journal = journal
        self._on_beat = on_beat
        self._committed = committed
        self._worker = ulid.new(clock.now().wall)
        self._known_epoch = memory.read()
        self.acts: Acts = acts.merged(journal.read().acts)
        self._configurations = configurations
        self.activated: Activated | None = None
        self._opens = 0
        self._run_id = ""
        self.unrecorded: list[str] = []
        self._unwritten: list[Act] = []
        self._is_full = False
        self._background = Background("feed-follower", self.step)

    def start(self) -> None:
        """Begin to follow in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread and its connection."""
        self._background.stop()
        self._background.join()
        self._reader.close()

    def standpoint(self) -> Standpoint:
        """Return what is known now; raise `Unavailable` if it is too old to decide on."""
        # The picture first, for the others are renewed before it: so they are never older.
        picture, activated = self._streams.picture, self.activated
        standpoint = Standpoint(picture, self.acts, self._run_id, activated.id if activated is not None else "")
        if not self.is_current():
            raise Unavailable("this worker has not heard from the store for a second, so it decides nothing", retry_after=1)
        return standpoint

    def issuing_standpoint(self) -> Standpoint:
        """Return what is known now; raise `Unavailable` also while others may still add to what stands in a new epoch."""
        standpoint = self.standpoint()
        if not self.is_open():
            raise Unavailable("the store was lost or restarted, and its workers compare what they know", retry_after=3)
        return standpoint

    def is_current(self) -> bool:
        """Tell whether the worker's picture is young enough to decide on."""
        return self._streams.picture.is_fresh(self._clock.now(), bound=MAX_AGE)

    def is_open(self) -> bool:
        """Tell whether every worker has had the time to add what it knows to the present epoch."""
        return self._streams.picture.as_of >= self._opens

    def age(self) -> int:
        """Return how many milliseconds ago the store vouched for what this worker knows."""
        return self._streams.picture.age(self._clock.now())

    def step(self) -> float:
        """Wait for news at most one beat, then read them; return the seconds until the next step."""
        try:
            if self._run_id:
                self._reader.wait(self._streams.picture.seq, BEAT)
            self.catch_up()
        except Unavailable:
            self._run_id = ""
            return _AFTER_FAILURE
        return 0.0

    def catch_up(self) -> None:
        """Read what is new, or everything where this worker does not know where it stands; raise `Unavailable`."""
        # First, so that what is told of the log is signed with the key whose turn it is.
        self._on_beat()
        if self._run_id:
            self._read_news()
        if not self._run_id:
            self._read_everything()

    def _read_news(self) -> None:
        picture, received, mine = self._streams.picture, self._clock.now(), self._committed()
        beat = self._beat(picture)
        is_same = beat.head is not None and self._is_same_life(beat.head, picture)
        if beat.head is None or not is_same or beat.standing != HELD or _lacks(beat, mine):
            self._run_id = ""
            return
        moved = picture.apply(_message(picture, beat.head, beat.news), received)
        if moved is not picture:
            heard = _acts_in(beat, picture.epoch)
            self._opens = beat.head.opens
            self.acts = acts.merged(self.acts.values(), heard) if heard else self.acts
            self._unwritten += heard
            if any(live.event.kind == "configuration" for live in beat.news):
                self._hear(self._reader.activated())
            self._streams.publish(moved, beat.news)
        if self.activated is None:
            self._hear(self._reader.activated())
        self._write_down(picture.epoch)

    def _beat(self, picture: Picture) -> Beat:
        return self._reader.beat(self._worker, _place(picture), in_force=self._configurations.in_force)

    def _hear(self, activated: Activated | None) -> None:
        """Hear which configuration is in force. An earlier one than was verified here is nobody's wish, and changes nothing."""
        self.activated = latest_of(activated, self._configurations.latest)
        self._configurations.heard(self.activated)

    def _write_down(self, epoch: str) -> None:
        """Write what was heard to the journal; what cannot be written is tried at every beat, for the feed has to go on."""
        if not self._unwritten:
            return
        try:
            self._journal.add(epoch, self._unwritten)
            self._unwritten, self._is_full = [], False
        except OSError as error:
            if not self._is_full:
                _LOG.error("the journal cannot be written, and what stands would not outlive the store: %s", error.strerror)
            self._is_full = True

    def _is_same_life(self, head: Head, picture: Picture) -> bool:
        """Tell whether the store is still in the picture's epoch, on the same server."""
        return head.epoch == picture.epoch and head.run_id == self._reader.run_id == self._run_id

    def _read_everything(self) -> None:
        received = self._clock.now()
        lost = self._has_lost(self._streams.picture)
        everything = self._reader.everything()
        head = everything.head
        if lost or head is None or head.run_id != self._reader.run_id or head.epoch < self._known_epoch:
            self._begin_epoch(head.epoch if head is not None else "")
            self._read_everything()
            return
        if self._add_what_is_missing(everything, head) or self._put_into_force(everything.activated, head):
            self._read_everything()
            return
        self._adopt(everything, head, received)

    def _adopt(self, everything: Everything, head: Head, received: Instant) -> None:
        picture = Picture().adopt(_snapshot(head, everything.live), received)
        if not picture.epoch:
            # Better the place where this worker stood than none: it is by that place that a loss of the log is noticed.
            raise Unavailable("the store's clock is more than a second ahead of this worker's", retry_after=1)
        self._journal.add(head.epoch, self.acts.values())
        self._remember(head.epoch)
        self._hear(everything.activated)
        self._opens = head.opens
        self._streams.restart(picture, everything.live)
        self._run_id = self._reader.run_id

    def _has_lost(self, picture: Picture) -> bool:
        """Tell whether the log of this epoch lacks, or has otherwise, the place where this worker has been."""
        if not picture.epoch:
            return False
        mine = self._committed()
        beat = self._beat(picture)
        is_same = beat.head is not None and beat.head.epoch == picture.epoch
        return is_same and (beat.standing == LOST or _lacks(beat, mine))

    def _begin_epoch(self, seen: str) -> None:
        now = self._clock.now().wall
        epoch = ulid.above(max(seen, self._known_epoch), now)
        is_first = not seen and not self._known_epoch
        pause = acts.unknown(epoch, now=now) if self._is_unknown(seen) else None
        if not self._reader.begin(seen, epoch, wait=0 if is_first or self._reader.is_alone else MERGE_TIME, act=pause):
            return
        self.unrecorded.append(epoch)
        if not is_first:
            _LOG.warning("epoch %s begins, for the store was lost, restarted or replaced: all earlier tokens are void", epoch)
        if pause is not None:
            _LOG.error("everything is paused, for neither store nor journal knows what stood before: `broker restore --all`")

    def _is_unknown(self, seen: str) -> bool:
        """Tell whether there was an epoch of which neither the store nor the journal knows what stood in it."""
        return seen < self._known_epoch and self._journal.read().epoch < self._known_epoch

    def _add_what_is_missing(self, everything: Everything, head: Head) -> bool:
        """Commit the acts of which this worker knows more than the store does; tell whether there were any."""
        self.acts = acts.merged(self.acts.values(), self._journal.read().acts, everything.acts.values())
        live = {entry.event.id for entry in everything.live}
        missing = [act for act in self.acts.values() if _is_missing(act, everything.acts, live)]
        if missing:
            now = self._clock.now().wall
            self._reader.add(head.epoch, [acts.again(act, now=now) for act in missing])
        return bool(missing)

    def _put_into_force(self, activated: Activated | None, head: Head) -> bool:
        """Put into force what this worker knows to be later than what the store has; tell whether there was anything."""
        wanted = latest_of(activated, self._configurations.latest) or self._configurations.first()
        known = activated.id if activated is not None else ""
        if wanted is None or wanted.id == known:
            return False
        self._reader.activate(head.epoch, wanted, instead_of=known, now=self._clock.now().wall)
        return True

    def _remember(self, epoch: str) -> None:
        if epoch != self._known_epoch:
            self._memory.write(epoch)
            self._known_epoch = epoch


def _lacks(beat: Beat, committed: OwnPlace | None) -> bool:
    """Tell whether the log lacks what this worker committed before the beat: it may not have read it yet when it was lost."""
    if beat.head is None or committed is None or committed.epoch != beat.head.epoch:
        return False
    others = any(live.seq == committed.seq and live.event.id != committed.id for live in beat.news if committed.id)
    return beat.head.place.seq < committed.seq or others


def _place(picture: Picture) -> Place:
    return Place(seq=picture.seq, id=picture.id)


def _message(picture: Picture, head: Head, news: list[LiveEvent]) -> Message:
    place, as_of = head.place, head.as_of
    if news and news[-1].seq < place.seq:
        # There is more than one reading holds: what was read is true, and vouches for no later moment.
        place, as_of = Place(seq=news[-1].seq, id=news[-1].event.id), picture.as_of
    return Message(
        iss="",
        aud="",
        epoch=picture.epoch,
        seq=place.seq,
        id=place.id,
        prev=_place(picture),
        as_of=as_of,
        events=tuple(live.event.numbered(live.seq) for live in news),
    )


def _snapshot(head: Head, live: list[LiveEvent]) -> Snapshot:
    events = tuple(entry.event.numbered(entry.seq) for entry in live)
    return Snapshot(iss="", aud="", epoch=head.epoch, seq=head.place.seq, id=head.place.id, as_of=head.as_of, events=events)


def _acts_in(beat: Beat, epoch: str) -> list[Act]:
    return [acts.of_event(live.event, epoch=epoch, seq=live.seq) for live in beat.news if acts.is_act(live.event)]


def _is_missing(act: Act, store: Acts, live: set[str]) -> bool:
    known = store.get(act.target)
    if known is None or act.order > known.order:
        return True
    # The end of a key has to be told to verifiers in every epoch: a stolen key signs any.
    return act.event.kind == "key" and known.event.id == act.event.id and act.event.id not in live
