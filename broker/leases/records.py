"""A lease as it is kept and as it is shown."""

from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from broker.leases.classes import DecisionClass
from scopes.revocations import Picture, Revocable, exposed_targets, targets_of
from scopes.scope import Scope

LEASE = "lse_"

_PLAIN = "/:@!$&'()*+,;="

Ended = str
"""How a lease ended before its time: `revoked`, or `undone` where its token was never handed out."""


class LeaseRecord(msgspec.Struct, frozen=True):
    """What is kept of one lease beside its times; what it shares with others stands in the records of its task and its class.

    `decision_class` is the class's id. `instance` tells which one of many with the same workload id holds it, where something
    does.
    """

    task: str
    decision_class: str
    position: int
    scope: str
    workload: str | None = None
    instance: str | None = None

    @property
    def text(self) -> str:
        """Write it in few letters, for a million of them are kept at once."""
        parts = [self.task, self.decision_class, str(self.position), self.scope]
        # Only these two can hold a space: what a platform calls its workloads is its own affair.
        named = [quote(name or "", safe=_PLAIN) for name in (self.workload, self.instance)]
        return " ".join([*parts, *named]).rstrip(" ")

    @classmethod
    def read(cls, text: str) -> "LeaseRecord":
        """Read what `text` wrote."""
        task, decision_class, position, scope, *named = text.split(" ")
        workload, instance = (*(unquote(name) or None for name in named), None, None)[:2]
        return cls(task, decision_class, int(position), scope, workload, instance)


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
    decision_class: DecisionClass
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
    id, text, agent, workload, path, user, delegation, decision_class = (part.decode() for part in entry)
    issued, life, status, record_text = text.split(" ", 3)
    record = LeaseRecord.read(record_text)
    delegated = msgspec.json.decode(delegation, type=_Delegation | None)
    lease = Lease(
        id=id,
        agent=agent,
        workload=record.workload or workload,
        path=msgspec.json.decode(path, type=tuple[str, ...]),
        record=record,
        decision_class=DecisionClass.read(decision_class),
        times=Times(int(issued), int(issued) + int(life)),
        status=status,
        user=user,
        ends_with=delegated.ends_with if delegated else (),
    )
    return lease._replace(status=_status(lease, now, picture)) if status == "live" else lease


def _status(lease: Lease, now: int, picture: Picture) -> str:
    if lease.times.expires * 1000 <= now:
        return "expired"
    # An epoch later than the picture's is one this worker has not heard of yet: that lease is out, and ended by nothing here.
    epoch = lease.decision_class.epoch
    if epoch < picture.epoch or (epoch == picture.epoch and picture.ended_by(_revocable(lease)) is not None):
        return "revoked"
    return "live"


def _revocable(lease: Lease) -> Revocable:
    record, decided = lease.record, lease.decision_class
    targets = targets_of(lease=lease.id, agent=lease.agent, workload=lease.workload, path=lease.path, scope=lease.scope)
    targets.append(f"class {record.decision_class}")
    if record.instance is not None:
        targets.append(f"instance {record.instance}")
    if lease.user:
        targets.append(f"user {lease.user}")
    targets += lease.ends_with
    if lease.path:
        targets += exposed_targets(lease.path[0], taint=decided.ends_on_taint, labels=decided.ends_on_labels)
    return Revocable(decided.epoch, record.position, decided.level, approved=decided.approved, targets=tuple(targets))
