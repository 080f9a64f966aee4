"""What has ended: one event, and an index of very many that is small, quick to ask, and never changes.

An index of a hundred thousand events takes less than 20 MiB, and to add one does not copy the rest: what came lately stands in
a small layer above a large one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

BROKER_KINDS = frozenset({"label", "configuration", "lift"})
ALL = "all"
UNKNOWN = "unknown kind"
_ENDING_KINDS = frozenset({"lease", "task", "taint", "agent", "instance", "user", "resource", "class", "key", "all"})
# Ended events are swept out of the index when it has doubled, so that sweeping costs each event a constant share.
_SMALLEST_SWEEP = 1024
_SMALLEST_LAYER = 64

Target = str
"""The kind and value of an event that would end a token, as one text: cheap to make, to keep and to look up."""

_ID = re.compile(r"evt_[0-7][0-9A-HJKMNP-TV-Z]{25}")
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_AS_DIGITS = str.maketrans(_LETTERS, "0123456789abcdefghijklmnopqrstuv")
_ID_BITS, _UNTIL_BITS = 128, 48
_LARGEST_SEQ = 2**48
_LARGEST_UNTIL = 2**_UNTIL_BITS


class Wire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A member that is not known is skipped: all that an event could add is a narrowing, and to skip it ends more."""


class Event(Wire, frozen=True, gc=False):
    """One entry of the log: what has ended. `until` (milliseconds) is the end of the last token it can hit, and a minute."""

    seq: int
    id: str
    kind: str
    until: int
    value: str = ""
    above: str | None = None
    unapproved: bool = False

    @property
    def target(self) -> Target:
        """What it ends, as it stands among the targets of a token."""
        if self.kind not in _ENDING_KINDS:
            return UNKNOWN
        return ALL if self.kind == ALL else f"{self.kind} {self.value}"


Kept = int | Event
"""An event as it is kept: nearly all narrow nothing and have a ULID for an id, and are one number beside their target."""

Bucket = Kept | tuple[Kept, ...]
"""The events of one target: hardly ever more than one."""


class Index:
    """Events by what they end. Never changed: to add some returns another index, which shares the large layer with this one."""

    __slots__ = ("_base", "_recent", "_sweep_at")

    def __init__(self, *, sweep_at: int = _SMALLEST_SWEEP) -> None:
        """Hold nothing yet; what has ended is swept out when this many targets are held, and each time they doubled."""
        self._base: dict[Target, Bucket] = {}
        self._recent: dict[Target, Bucket] = {}
        self._sweep_at = sweep_at

    def __contains__(self, target: Target) -> bool:
        return target in self._recent or target in self._base

    def get(self, target: Target) -> list[Event]:
        """Return the events of one target."""
        return [_event(target, kept) for kept in self._kept(target)]

    def of_any(self, targets: Sequence[Target]) -> Iterator[Event]:
        """Return the events of all these targets."""
        # At every use of every token, and nearly always in vain: so the layers are asked for all targets at once.
        if self._recent.keys().isdisjoint(targets) and self._base.keys().isdisjoint(targets):
            return iter(())
        return (event for target in targets for event in self.get(target))

    def events(self) -> Iterator[Event]:
        """Return all events, in no order."""
        return (event for target in self._targets() for event in self.get(target))

    def places(self) -> Iterator[tuple[int, int | str]]:
        """Return the number of each event and its id as `identity` writes it, but for keys: those may be of earlier epochs."""
        for target in self._targets():
            if not _is_key(target):
                for kept in self._kept(target):
                    yield _seq(kept), _identity_of(kept)

    def only_keys(self) -> "Index":
        """Return what holds beyond its epoch: the ends of keys."""
        keys = {target: self._stored(target) for target in self._targets() if _is_key(target)}
        return self._made(keys, {}, _SMALLEST_SWEEP)

    def adding(self, events: Iterable[Event], as_of: int) -> "Index":
        """Return an index that holds these events too; what had ended by `as_of` (milliseconds) may be left out."""
        recent = dict(self._recent)
        for event in events:
            target, kept = event.target, _packed(event)
            # The ended ones go here too, so that one agent suspended daily for years leaves no trail to search.
            before = _unpacked_bucket(recent[target]) if target in recent else self._kept(target)
            if kept not in before:
                recent[target] = _bucket((*_alive(target, before, as_of), kept))
        if len(self._base) + len(recent) >= self._sweep_at:
            return self._swept({**self._base, **recent}, as_of)
        # About the root of all: then neither the copy for each message nor the fold now and then costs much.
        if len(recent) > _SMALLEST_LAYER and len(recent) ** 2 > len(self._base):
            return self._made({**self._base, **recent}, {}, self._sweep_at)
        return self._made(self._base, recent, self._sweep_at)

    def _swept(self, held: dict[Target, Bucket], as_of: int) -> "Index":
        alive = ((target, _alive(target, _unpacked_bucket(bucket), as_of)) for target, bucket in held.items())
        kept = {target: _bucket(bucket) for target, bucket in alive if bucket}
        return self._made(kept, {}, max(_SMALLEST_SWEEP, 2 * len(kept)))

    def _kept(self, target: Target) -> tuple[Kept, ...]:
        return _unpacked_bucket(self._stored(target))

    def _stored(self, target: Target) -> Bucket:
        stored = self._recent.get(target)
        return stored if stored is not None else self._base.get(target, ())

    def _targets(self) -> Iterator[Target]:
        yield from self._base
        yield from (target for target in self._recent if target not in self._base)

    @staticmethod
    def _made(
        base: dict[Target, Bucket],
        recent: dict[Target, Bucket],
        sweep_at: int,
    ) -> "Index":
        made = Index(sweep_at=sweep_at)
        made._base, made._recent = base, recent
        return made


def identity(id: str) -> int | str:
    """Return an event's id in the form that takes least memory: equal for equal ids, and for no others."""
    return int(id[4:].translate(_AS_DIGITS), 32) if _ID.fullmatch(id) else id


def _packed(event: Event) -> Kept:
    number = identity(event.id)
    is_plain = event.above is None and not event.unapproved and isinstance(number, int)
    if not is_plain or not 0 <= event.until < _LARGEST_UNTIL or not 0 <= event.seq < _LARGEST_SEQ or not _tells(event):
        return event
    return event.seq << _ID_BITS + _UNTIL_BITS | event.until << _ID_BITS | int(number)


def _tells(event: Event) -> bool:
    """Tell whether the target says the event's kind and value."""
    return event.kind in _ENDING_KINDS and (event.kind != ALL or not event.value)


def _event(target: Target, kept: Kept) -> Event:
    if isinstance(kept, Event):
        return kept
    kind, _, value = target.partition(" ")
    return Event(seq=_seq(kept), id=f"evt_{_ulid(kept)}", kind=kind, until=_until(kept), value=value)


def _seq(kept: Kept) -> int:
    return kept.seq if isinstance(kept, Event) else kept >> _ID_BITS + _UNTIL_BITS


def _until(kept: Kept) -> int:
    return kept.until if isinstance(kept, Event) else kept >> _ID_BITS & _LARGEST_UNTIL - 1


def _identity_of(kept: Kept) -> int | str:
    return identity(kept.id) if isinstance(kept, Event) else kept & 2**_ID_BITS - 1


def _ulid(kept: int) -> str:
    number = kept & 2**_ID_BITS - 1
    return "".join([_LETTERS[number >> shift & 31] for shift in range(125, -1, -5)])


def _alive(target: Target, kept: tuple[Kept, ...], as_of: int) -> tuple[Kept, ...]:
    # By the issuer's time, not ours: `until` is its promise that no token lives that the event could still hit. It cannot
    # promise that of a stolen key, which signs any `exp`; those events are few, and kept.
    return kept if _is_key(target) else tuple([each for each in kept if _until(each) >= as_of])


def _is_key(target: Target) -> bool:
    return target.startswith("key ")


def _bucket(kept: tuple[Kept, ...]) -> Bucket:
    return kept[0] if len(kept) == 1 else kept


def _unpacked_bucket(bucket: Bucket) -> tuple[Kept, ...]:
    return bucket if isinstance(bucket, tuple) else (bucket,)
