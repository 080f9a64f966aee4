"""A lease as it is kept and as it is shown."""

from typing import NamedTuple

import msgspec

from scopes.levels import Level
from scopes.revocations import Picture, Revocable, targets_of
from scopes.scope import Scope

LEASE = "lse_"

Ended = str
"""How a lease ended before its time: `revoked`, or `undone` where its token was never handed out."""


class LeaseRecord(msgspec.Struct, frozen=True):
    """What is kept of one lease beside its times; agent, path and the usual workload stand in its task's record."""

    task: str
    scope: str
    level: Level
    epoch: str
    position: int
    workload: str | None = None

    @property
    def text(self) -> str:
        """Write it in few letters, for a million of them are kept at once; no part of it can hold a space."""
        parts = (self.task, self.epoch, str(self.position), self.level, self.scope)
        return " ".join(parts if self.workload is None else (*parts, self.workload))

    @classmethod
    def read(cls, text: str) -> "LeaseRecord":
        """Read what `text` wrote."""
        task, epoch, position, level, scope, *workload = text.split(" ")
        parts = {"task": task, "epoch": epoch, "position": int(position), "level": level, "scope": scope}
        return msgspec.convert({**parts, "workload": workload[0] if workload else None}, cls)


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
    """A lease as it is shown: `status` is `live`, `expired`, `revoked` or `undone`. Times are seconds. Never the token."""

    id: str
    agent: str
    workload: str
    path: tuple[str, ...]
    record: LeaseRecord
    times: Times
    status: str

    @property
    def scope(self) -> Scope:
        """What was granted."""
        return Scope.parse(self.record.scope)


def parse(entry: tuple[bytes, ...], *, now: int, picture: Picture) -> Lease:
    """Read one entry of `list.lua` as it stands at `now` (milliseconds), ended by whatever the picture knows."""
    id, text, agent, workload, path = (part.decode() for part in entry)
    issued, life, status, record_text = text.split(" ", 3)
    record = LeaseRecord.read(record_text)
    tasks = msgspec.json.decode(path, type=tuple[str, ...])
    times = Times(int(issued), int(issued) + int(life))
    lease = Lease(id, agent, record.workload or workload, tasks, record, times, status)
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
    return Revocable(record.epoch, record.position, record.level, approved=False, targets=tuple(targets))
