"""What has ended, as one immutable picture of the feed: order by number, freshness by heartbeat, never by a clock alone.

A picture takes genuine messages and snapshots in any order, twice, late, or not at all, and keeps two promises: what it has
seen end stays ended for as long as a token could live, and it never looks fresher than it is.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec

from scopes import jose, strict_json
from scopes.claims import Claims
from scopes.clock import Instant
from scopes.errors import InvalidDocument
from scopes.event_index import ALL, BROKER_KINDS, UNKNOWN, Event, Index, Target, Wire, identity
from scopes.keys import KeySet
from scopes.levels import Level, is_above
from scopes.scope import Scope

MESSAGE_TYPE = "revocations+jwt"
SNAPSHOT_TYPE = "revocation-snapshot+jwt"
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024

MAX_AHEAD = 1_000
"""The milliseconds by which the issuer's clock may be ahead of ours; further, one of the two is wrong and we refuse."""


class Place(Wire, frozen=True):
    """A place in the log: a number alone means different events before and after a store was lost."""

    seq: int
    id: str


class Message(Wire, frozen=True):
    """Every event in (`prev`, `seq`] that concerns one audience; without events, a heartbeat."""

    iss: str
    aud: str
    epoch: str
    seq: int
    id: str
    prev: Place
    as_of: int
    events: tuple[Event, ...] = ()


class Snapshot(Wire, frozen=True):
    """Every event alive at `seq` that concerns one audience."""

    iss: str
    aud: str
    epoch: str
    seq: int
    id: str
    as_of: int
    events: tuple[Event, ...] = ()


class Revocable(NamedTuple):
    """All of a token that decides whether an event ends it; made once for each token."""

    epoch: str
    position: int
    level: Level
    approved: bool
    targets: tuple[Target, ...]


def revocable(claims: Claims, scope: Scope, kid: str) -> Revocable:
    """Collect what can end the token: its lease, tasks, agent, workload, user, resource, class, key, or everything.

    And whatever ends the lease that it was delegated from.
    """
    lease = claims.lease
    targets = targets_of(lease=claims.jti, agent=claims.client_id, workload=claims.workload, path=lease.path, scope=scope)
    targets.append(f"key {kid}")
    if lease.instance is not None:
        targets.append(f"instance {lease.instance}")
    if lease.class_ is not None:
        targets.append(f"class {lease.class_}")
    if lease.user:
        targets.append(f"user {claims.sub}")
    targets += lease.ends_with
    targets += exposed_targets(claims.txn, taint=lease.ends_on_taint, labels=lease.ends_on_labels)
    return Revocable(lease.epoch, lease.position, lease.level, lease.approval is not None, tuple(targets))


def targets_of(*, lease: str, agent: str, workload: str, path: Iterable[str], scope: Scope) -> list[Target]:
    """Name the events that would end any token of this lease."""
    targets = [ALL, UNKNOWN, f"lease {lease}", f"agent {agent}", f"instance {workload}"]
    targets += [f"task {task}" for task in path]
    targets += [f"resource {prefix}" for prefix in scope.resource.prefixes]
    return targets


def exposed_targets(root: str, *, taint: bool, labels: Iterable[str]) -> list[Target]:
    """Name the events that say what a tree of tasks was given to read: what outsiders wrote, or a class of data."""
    return [f"taint {root}"] * taint + [f"taint {root} {label}" for label in labels]


class Picture(msgspec.Struct, frozen=True):
    """The feed as one reader knows it. Never changed: every step returns another picture, so a reference is a moment.

    Only for one issuer and one audience; the caller has verified both. `needs_snapshot` asks for a snapshot without making
    the picture worse; `disputed` means that this history is not the only one of its epoch, or that its epoch is over: nothing
    is fresh any more, and only a higher epoch mends that.
    """

    epoch: str = ""
    seq: int = -1
    id: str = ""
    as_of: int = 0
    received: Instant = Instant(0, 0)
    age_at_receipt: int = 2**62
    index: Index = Index()
    needs_snapshot: bool = True
    disputed: bool = False

    def age(self, now: Instant) -> int:
        """Return how many milliseconds ago the issuer vouched for this picture, or more; never less."""
        return self.age_at_receipt + now.since(self.received)

    def is_fresh(self, now: Instant, *, bound: int) -> bool:
        """Tell whether the picture is whole and at most `bound` milliseconds old."""
        # Written out, for this is asked at every use of every token.
        received = self.received
        elapsed = max(now.wall - received.wall, now.boot - received.boot, 0)
        return not self.disputed and self.age_at_receipt + elapsed <= bound

    def ended_by(self, token: Revocable) -> Event | None:
        """Return an event that ends the token, if there is one. The epochs have to be compared before."""
        for event in self.index.of_any(token.targets):
            if _hits(event, token):
                return event
        return None

    def has(self, target: Target) -> bool:
        """Tell whether an event of this kind and value is known, whatever tokens it ends."""
        return target in self.index

    def events(self) -> list[Event]:
        """Return the events this picture holds, in the order of the log."""
        return sorted(self.index.events(), key=lambda event: event.seq)

    def apply(self, message: Message, now: Instant) -> "Picture":
        """Take in a genuine message; return this picture unchanged where it says nothing new or cannot be believed."""
        if message.as_of > now.wall + MAX_AHEAD or not _is_in_order(message) or message.epoch < self.epoch:
            return self
        if message.epoch > self.epoch:
            return msgspec.structs.replace(self, needs_snapshot=True, disputed=bool(self.epoch))
        if message.seq < self.seq:
            return self
        if message.seq == self.seq:
            return self._refreshed(message, now) if message.id == self.id else self._dispute()
        if message.prev.seq != self.seq:
            return msgspec.structs.replace(self, needs_snapshot=True)
        if message.prev.id != self.id:
            return self._dispute()
        return self._with(message.events, message, now)

    def adopt(self, snapshot: Snapshot, now: Instant) -> "Picture":
        """Take in a genuine snapshot: the start of a higher epoch, or this epoch's later state joined with what is known.

        An earlier one changes nothing. The end of a key outlives its epoch, for a stolen key can sign any epoch.
        """
        if snapshot.as_of > now.wall + MAX_AHEAD or any(event.seq > snapshot.seq for event in snapshot.events):
            return self
        if snapshot.epoch > self.epoch:
            return Picture(epoch=snapshot.epoch, index=self.index.only_keys())._with(snapshot.events, snapshot, now)
        if snapshot.epoch < self.epoch or snapshot.seq < self.seq:
            return self
        if self._is_contradicted_by(snapshot):
            return self._dispute()
        return self._with(snapshot.events, snapshot, now)

    def _is_contradicted_by(self, snapshot: Snapshot) -> bool:
        told = {event.seq: identity(event.id) for event in snapshot.events}
        told[snapshot.seq], here = identity(snapshot.id), identity(self.id)
        if told.get(self.seq, here) != here:
            return True
        return any(told.get(seq, known) != known for seq, known in self.index.places())

    def _with(self, events: Iterable[Event], head: Message | Snapshot, now: Instant) -> "Picture":
        moved = msgspec.structs.replace(self, seq=head.seq, id=head.id, needs_snapshot=False)._refreshed(head, now)
        fresh = [event for event in events if event.kind not in BROKER_KINDS]
        return msgspec.structs.replace(moved, index=moved.index.adding(fresh, head.as_of)) if fresh else moved

    def _refreshed(self, head: Message | Snapshot, now: Instant) -> "Picture":
        if head.as_of <= self.as_of:
            return self
        age = max(now.wall - head.as_of, 0)
        return msgspec.structs.replace(self, as_of=head.as_of, received=now, age_at_receipt=age)

    def _dispute(self) -> "Picture":
        return msgspec.structs.replace(self, disputed=True, needs_snapshot=True)


def read_message(unverified_text: str, *, keys: KeySet, issuer: str, audience: str) -> Message:
    """Verify a message of the feed; raise `InvalidDocument` unless it is one, of this issuer, for this audience."""
    jws = jose.read(unverified_text, types=frozenset({MESSAGE_TYPE}), max_bytes=MAX_MESSAGE_BYTES)
    message = strict_json.decode(jws.verified_payload(keys), type=Message, max_bytes=MAX_MESSAGE_BYTES)
    _check_named(message, issuer, audience)
    return message


def read_snapshot(unverified_text: str, *, keys: KeySet, issuer: str, audience: str) -> Snapshot:
    """Verify a snapshot of the feed; raise `InvalidDocument` unless it is one, of this issuer, for this audience."""
    jws = jose.read(unverified_text, types=frozenset({SNAPSHOT_TYPE}), max_bytes=MAX_SNAPSHOT_BYTES)
    snapshot = strict_json.decode(jws.verified_payload(keys), type=Snapshot, max_bytes=MAX_SNAPSHOT_BYTES)
    _check_named(snapshot, issuer, audience)
    return snapshot


def _check_named(head: Message | Snapshot, issuer: str, audience: str) -> None:
    if (head.iss, head.aud) != (issuer, audience):
        raise InvalidDocument("of another issuer or for another audience")


def _is_in_order(message: Message) -> bool:
    numbers = [message.prev.seq, *(event.seq for event in message.events)]
    if message.prev.seq == message.seq:
        return not message.events and message.prev.id == message.id
    return numbers[-1] <= message.seq and all(low < high for low, high in pairwise(numbers))


def _hits(event: Event, token: Revocable) -> bool:
    # A stolen key signs any position it likes, so the end of a key asks for none.
    if event.kind != "key" and token.position >= event.seq:
        return False
    if event.above is not None and not is_above(token.level, event.above):
        return False
    return not (event.unapproved and token.approved)
