"""A lease as it is kept and as it is shown."""

from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from scopes.levels import Level
from scopes.revocations import Picture, Revocable, targets_of
from scopes.scope import Scope

LEASE = "lse_"

_PLAIN = "/:@!$&'()*+,;="

Ended = str
"""How a lease ended before its time: `revoked`, or `undone` where its token was never handed out."""


class LeaseRecord(msgspec.Struct, frozen=True):
    """What is kept of one lease beside its times; agent, path and the usual workload stand in its task's record.

    `instance` tells which one of many with the same workload id holds it, where something does.
    """

    task: str
    scope: str
    level: Level
    epoch: str
    position: int
    workload: str | None = None
    instance: str | None = None

    @property
    def text(self) -> str:
        """Write it in few letters, for a million of them are kept at once."""
        parts = [self.task, self.epoch, str(self.position), self.level, self.scope]
        # Only these two can hold a space: what a platform calls its workloads is its own affair.
        named = [quote(name or "", safe=_PLAIN) for name in (self.workload, self.instance)]
        return " ".join([*parts, *named]).rstrip(" ")

    @classmethod
    def read(cls, text: str) -> "LeaseRecord":
        """Read what `text` wrote."""
        task, epoch, position, level, scope, *named = text.split(" ")
        parts = {"task": task, "epoch": epoch, "position": int(position), "level": level, "scope": scope}
        names = [unquote(name) or None for name in named]
        return msgspec.convert({**parts, **dict(zip(("workload", "instance"), names, strict=False))}, cls)


class Times(NamedTuple):
    """When a lease was issued and when it expires, in seconds, by the store's clock."""

    issued: int
    expires: int


class Mark(NamedTuple):
    """Where somebody who goes through an index of times stands: after this lease, which expires at this millisecond."""

    lease: str = ""
    expires: int | str = ""


class Settled(NamedTuple):
    """Up to where in the log the ended leases of a shard are marked."""

    epoch: str = ""
    seq: int = -1

    @property
    def text(self) -> str:
        """Write it."""
        return f"{self.epoch} {self.seq}"

    @classmethod
    def read(cls, text: str) -> "Settled":
        """Read what `text` wrote; of an empty text, that nothing is known."""
        epoch, _, seq = text.partition(" ")
        return cls(epoch, int(seq)) if epoch else cls()


class Lease(NamedTuple):
    """A lease as it is shown: `status` is `live`, `expired`, `revoked` or `undone`. Times are seconds. Never the token.

    `user` is for whom its task is done, and `ends_with` names the events that end what that was delegated by.
    """

    id: str
    agent: str
    workload: str
    path: tuple[str, ...]
    record: LeaseRecord
    times: Times
    status: str
    user: str = ""
    ends_with: tuple[str, ...] = ()

    @property
    def scope(self) -> Scope:
        """What was granted."""
        return Scope.parse(self.record.scope)


class _Delegation(msgspec.Struct, frozen=True):
    """What is read of how a task was delegated."""

    ends_with: tuple[str, ...]


def parse(entry: tuple[bytes, ...], *, now: int, picture: Picture) -> Lease:
    """Read one entry of `list.lua` as it stands at `now` (milliseconds), ended by whatever the picture knows."""
    id, text, agent, workload, path, user, delegation = (part.decode() for part in entry)
    issued, life, status, record_text = text.split(" ", 3)
    record = LeaseRecord.read(record_text)
    tasks = msgspec.json.decode(path, type=tuple[str, ...])
    times = Times(int(issued), int(issued) + int(life))
    delegated = msgspec.json.decode(delegation, type=_Delegation | None)
    ends_with = delegated.ends_with if delegated else ()
    lease = Lease(id, agent, record.workload or workload, tasks, record, times, status, user, ends_with)
    return lease._replace(status=_status(lease, now, picture)) if status == "live" else lease


def _status(lease: Lease, now: int, picture: Picture) -> str:
    if lease.times.expires * 1000 <= now:
        return "expired"
    # An epoch later than the picture's is one this worker has not heard of yet: that lease is out, and ended by nothing here.
    is_over = lease.record.epoch < picture.epoch
    if is_over or (lease.record.epoch == picture.epoch and picture.ended_by(_revocable(lease)) is not None):
        return "revoked"
    return "live"


def _revocable(lease: Lease) -> Revocable:
    targets = targets_of(lease=lease.id, agent=lease.agent, workload=lease.workload, path=lease.path, scope=lease.scope)
    record = lease.record
    if record.instance is not None:
        targets.append(f"instance {record.instance}")
    if lease.user:
        targets.append(f"user {lease.user}")
    targets += lease.ends_with
    return Revocable(record.epoch, record.position, record.level, approved=False, targets=tuple(targets))
