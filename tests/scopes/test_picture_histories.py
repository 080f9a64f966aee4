"""The two promises of a picture, against everything that can happen to a feed on its way.

Logs of several epochs grow and fork; what they said is delivered twice, late, in any order, or not at all; the reader's
clocks jump, stand still and are set back.
"""

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scopes.clock import Instant
from scopes.event_index import Event, Index
from scopes.revocations import MAX_AHEAD, Message, Picture, Place, Revocable, Snapshot
from tests.scopes.revocables import KID, held

START = 1_795_318_537_000
EPOCHS = ("01", "02", "03", "04")
TOKENS = [held()._replace(epoch=epoch, position=position) for epoch in EPOCHS for position in (0, 2, 4, 8, 16)]
TARGETS = [
    ("agent", "support-bot"),
    ("lease", "lse_01"),
    ("lease", "lse_02"),
    ("all", ""),
    ("new kind", ""),
    ("key", KID),
    ("label", "x"),
]
NEVER = 10**15

moments = st.integers(0, 20_000)
fractions = st.integers(0, 4)


class Entry(NamedTuple):
    place: Place
    at: int
    event: Event | None


class Branch:
    """One way in which the log of an epoch went on; a fork is another branch of the same epoch."""

    def __init__(self, epoch: str, entries: list[Entry]) -> None:
        self.epoch = epoch
        self.entries = entries

    def vouched(self, index: int, now: int, fraction: int) -> int:
        """Return a time at which this entry was the head: an `as_of` that an honest issuer can have signed."""
        last = self.entries[index + 1].at - 1 if index + 1 < len(self.entries) else now
        return self.entries[index].at + (last - self.entries[index].at) * fraction // 4

    def message(self, first: int, last: int, as_of: int) -> Message:
        events = tuple(entry.event for entry in self.entries[first + 1 : last + 1] if entry.event is not None)
        return Message(**self._said(last, as_of), prev=self.entries[first].place, events=events)

    def snapshot(self, last: int, as_of: int) -> Snapshot:
        told = [entry.event for entry in self.entries[: last + 1] if entry.event is not None]
        return Snapshot(**self._said(last, as_of), events=tuple(event for event in told if event.until >= as_of))

    def _said(self, last: int, as_of: int) -> dict[str, object]:
        place = self.entries[last].place
        return {"iss": "i", "aud": "a", "epoch": self.epoch, "seq": place.seq, "id": place.id, "as_of": as_of}


class Histories(RuleBasedStateMachine):
    """`true` is the issuer's time; `now` is what the reader's clocks say."""

    @initialize(following=st.booleans(), sleeps=st.booleans())
    def begin(self, following: bool, sleeps: bool) -> None:
        self.true = START
        # Where one clock fails the other has to be right: a boot clock that stands still, or a wall clock that is set.
        self.boot_clock_sleeps = sleeps
        self.now = Instant(START, 1_000)
        self.branches: list[Branch] = []
        self.serial = 0
        # Sweeping from the first event on, which otherwise waits for a thousand.
        self.picture = Picture(index=Index(sweep_at=1))
        self.behind = 0
        self.forked: set[str] = set()
        self.disputed_in: str | None = None
        self.ended: dict[Revocable, int] = {}
        self.lost_key = False
        self.new_epoch(first=0)
        if following:
            self.take(self.branches[0].snapshot(0, self.true))

    @property
    def current(self) -> Branch:
        return self.branches[-1]

    def place(self, seq: int) -> Place:
        self.serial += 1
        return Place(seq=seq, id=f"evt_{self.serial}")

    # What happens at the issuer

    @rule(
        target_of=st.sampled_from([*TARGETS, None]),
        lives=st.sampled_from([5_000, NEVER]),
        narrowed=st.booleans(),
        after=moments,
    )
    def commit(self, target_of: tuple[str, str] | None, lives: int, narrowed: bool, after: int) -> None:
        self.pass_time(after + 1)
        place = self.place(self.current.entries[-1].place.seq + 1)
        event = None
        if target_of is not None:
            above = "draft" if narrowed else None
            event = Event(
                seq=place.seq, id=place.id, kind=target_of[0], value=target_of[1], until=self.true + lives, above=above
            )
        self.current.entries.append(Entry(place, self.true, event))

    @precondition(lambda self: len(self.branches) < 5)
    @rule(back=st.integers(0, 3))
    def fork(self, back: int) -> None:
        """Two replicas both believe to be the one that writes."""
        kept = self.current.entries[: max(1, len(self.current.entries) - back)]
        self.branches.append(Branch(self.current.epoch, list(kept)))
        self.forked.add(self.current.epoch)

    @precondition(lambda self: len({branch.epoch for branch in self.branches}) < len(EPOCHS))
    @rule(first=st.integers(0, 10))
    def new_epoch(self, first: int) -> None:
        self.pass_time(1)
        epoch = EPOCHS[len({branch.epoch for branch in self.branches})]
        self.branches.append(Branch(epoch, [Entry(self.place(first), self.true, None)]))

    # What happens to the clocks

    @rule(ms=moments)
    def pass_time(self, ms: int) -> None:
        self.true += ms
        self.now = Instant(self.now.wall + ms, self.now.boot + ms)

    @precondition(lambda self: self.boot_clock_sleeps)
    @rule(ms=moments)
    def pass_time_while_the_boot_clock_stands_still(self, ms: int) -> None:
        self.true += ms
        self.now = self.now._replace(wall=self.now.wall + ms)

    @precondition(lambda self: not self.boot_clock_sleeps)
    @rule(by=st.sampled_from([-3_600_000, -5_000, -900, 900, 5_000, 3_600_000]))
    def set_the_wall_clock(self, by: int) -> None:
        self.now = self.now._replace(wall=self.now.wall + by)

    @precondition(lambda self: not self.boot_clock_sleeps)
    @rule()
    def set_the_wall_clock_right(self) -> None:
        self.now = self.now._replace(wall=self.true)

    # What arrives

    @rule(data=st.data(), fraction=fractions, twice=st.booleans())
    def deliver_any_message(self, data: st.DataObject, fraction: int, twice: bool) -> None:
        branch = data.draw(st.sampled_from(self.branches))
        last = data.draw(st.integers(0, len(branch.entries) - 1))
        first = data.draw(st.integers(0, last))
        for _ in range(1 + twice):
            self.take(branch.message(first, last, branch.vouched(last, self.true, fraction)))

    @rule(data=st.data(), fraction=fractions)
    def deliver_any_snapshot(self, data: st.DataObject, fraction: int) -> None:
        branch = data.draw(st.sampled_from(self.branches))
        last = data.draw(st.integers(0, len(branch.entries) - 1))
        self.take(branch.snapshot(last, branch.vouched(last, self.true, fraction)))

    @rule()
    def deliver_the_newest_snapshot(self) -> None:
        self.take(self.current.snapshot(len(self.current.entries) - 1, self.true))

    @rule(data=st.data(), fraction=fractions)
    def deliver_what_comes_next(self, data: st.DataObject, fraction: int) -> None:
        """Without this, few of the generated readers would get far."""
        here = Place(seq=self.picture.seq, id=self.picture.id)
        ways = [
            (branch, index)
            for branch in self.branches
            for index, entry in enumerate(branch.entries)
            if (branch.epoch, entry.place) == (self.picture.epoch, here)
        ]
        if ways:
            branch, index = data.draw(st.sampled_from(ways))
            last = data.draw(st.integers(index, len(branch.entries) - 1))
            self.take(branch.message(index, last, branch.vouched(last, self.true, fraction)))

    def take(self, said: Message | Snapshot) -> None:
        before = self.picture
        self.picture = before.apply(said, self.now) if isinstance(said, Message) else before.adopt(said, self.now)
        if self.picture.received != before.received or self.picture.as_of != before.as_of:
            self.behind = max(0, self.true - self.now.wall)
        is_believable = said.as_of <= self.now.wall + MAX_AHEAD
        if is_believable and (said.epoch, said.seq) == (before.epoch, before.seq) and said.id != before.id:
            assert self.picture.disputed, "same number, other id: a fork"
        assert self.picture.epoch >= before.epoch
        if self.picture.epoch == before.epoch:
            assert (self.picture.seq, self.picture.as_of) >= (before.seq, before.as_of)
            assert self.picture.as_of >= before.as_of

    # What is promised

    @invariant()
    def nothing_un_revokes(self) -> None:
        """Invariant I4, and TRAPS 20: a token that was ended stays ended until it is long dead, or of a void epoch."""
        for token in TOKENS:
            if token.epoch != self.picture.epoch:
                continue
            event = self.picture.ended_by(token)
            assert event is not None or self.ended.get(token, -1) < self.true
            if event is not None:
                self.ended[token] = max(self.ended.get(token, -1), event.until)

    @invariant()
    def a_lost_key_stays_lost(self) -> None:
        """TRAPS 6: through every epoch, whatever position it signs, and without an end."""
        ends = [event for event in self.picture.events() if event.kind == "key" and event.above is None]
        assert ends or not self.lost_key
        self.lost_key = bool(ends)
        assert not ends or all(self.picture.ended_by(token._replace(position=10**9)) for token in TOKENS)

    @invariant()
    def it_never_looks_fresher_than_it_is(self) -> None:
        """TRAPS 20: from the issuer's time on; the one error left is a wall clock that was behind when it arrived."""
        age = self.picture.age(self.now)
        assert age >= self.true - self.picture.as_of - self.behind
        assert self.picture.is_fresh(self.now, bound=age) == (not self.picture.disputed)
        assert not self.picture.is_fresh(self.now, bound=age - 1)

    @invariant()
    def it_knows_all_that_happened_before_the_time_it_vouches_for(self) -> None:
        if self.picture.epoch in self.forked or not self.picture.epoch:
            return
        branch = next(branch for branch in self.branches if branch.epoch == self.picture.epoch)
        happened = [entry.event for entry in branch.entries if entry.at <= self.picture.as_of and entry.event is not None]
        known = set(self.picture.events())
        missing = [event for event in happened if event not in known and event.until >= self.picture.as_of]
        assert [event for event in missing if event.kind != "label"] == []

    @invariant()
    def a_dispute_lasts_as_long_as_its_epoch(self) -> None:
        if self.disputed_in == self.picture.epoch:
            assert self.picture.disputed
        self.disputed_in = self.picture.epoch if self.picture.disputed else None
        assert not (self.picture.disputed and self.picture.is_fresh(self.now, bound=2**62))


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=100, stateful_step_count=40)
