"""What stands in the registry, as reviewed: frozen, typed, and nothing derived (`DESIGN.md` 6)."""

import datetime
from typing import Annotated, Any

import msgspec

from broker.workload import Workload
from scopes.levels import Level

Positive = Annotated[int, msgspec.Meta(ge=1)]

DEFAULT_TTL = 300
STALENESS: dict[Level, int] = {"read": 30, "draft": 15, "write": 10, "trigger": 3}
"""The seconds a verifier may go without news before it refuses a token of the level, unless the action says otherwise."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class WorkloadSelector(_Record, frozen=True):
    """A SPIFFE id, or a prefix of one that ends in `/*` and matches from the next segment on."""

    spiffe: str

    def matches(self, workload: Workload) -> bool:
        """Tell whether the workload's SPIFFE id is this one, or below this prefix."""
        return self._covers(workload.id)

    def overlaps(self, other: "WorkloadSelector") -> bool:
        """Tell whether some SPIFFE id can match both."""
        mine, theirs = self.spiffe.removesuffix("*"), other.spiffe.removesuffix("*")
        if mine == self.spiffe or theirs == other.spiffe:
            return self._covers(other.spiffe) or other._covers(self.spiffe)
        return mine.startswith(theirs) or theirs.startswith(mine)

    def _covers(self, id: str) -> bool:
        if self.spiffe.endswith("/*"):
            return id.startswith(self.spiffe[:-1]) and len(id) >= len(self.spiffe)
        return id == self.spiffe


class Action(_Record, frozen=True):
    """What a service's owner says of one action. `max_ttl` and `max_staleness` are seconds."""

    level: Level
    max_ttl: Positive = DEFAULT_TTL
    reversible: bool = True
    single_use: bool = False
    max_staleness: Positive | None = None
    default_fields: tuple[str, ...] | None = None

    @property
    def staleness(self) -> int:
        """The seconds a verifier may go without news before it refuses a token for this action."""
        return self.max_staleness if self.max_staleness is not None else STALENESS[self.level]


class ResourceType(_Record, frozen=True):
    """One type of record: its fields with their data classes, and what can be done to it."""

    data_classes: tuple[str, ...] = ()
    untrusted: bool = False
    fields: dict[str, tuple[str, ...]] = {}
    actions: dict[str, Action] = {}


class Service(_Record, frozen=True):
    """A protected service. Its `workloads` may follow the feed for its audience."""

    audience: str
    environment: str
    owner: str
    workloads: tuple[WorkloadSelector, ...] = ()
    resources: dict[str, ResourceType] = {}


class TaskLimits(_Record, frozen=True):
    """How many leases one task may be given in its life."""

    leases: Positive | None = None


class TaskType(_Record, frozen=True):
    """The ceiling of a kind of task, approved in advance. `max_duration` is seconds."""

    purpose: str
    max_duration: Positive
    scopes: tuple[str, ...]
    limits: TaskLimits = TaskLimits()


class AgentLimits(_Record, frozen=True):
    """How many leases an agent may be given in a minute, and may hold at once."""

    leases_per_minute: Positive | None = None
    live_leases: Positive | None = None


class AgentRecord(_Record, frozen=True):
    """An agent as reviewed; without owner, purpose, environment and end date it is only declared."""

    owner: str = ""
    purpose: str = ""
    environment: str = ""
    workloads: tuple[WorkloadSelector, ...] = ()
    tasks: tuple[str, ...] = ()
    default_task: str | None = None
    ends: datetime.date | None = None
    review_by: datetime.date | None = None
    limits: AgentLimits = AgentLimits()

    @property
    def missing(self) -> tuple[str, ...]:
        """The keys without which the agent cannot be activated."""
        return tuple(key for key in ("owner", "purpose", "environment", "ends") if not getattr(self, key))


class OperatorRecord(_Record, frozen=True):
    """A person who operates the broker, by the public keys that sign for them."""

    roles: tuple[str, ...]
    keys: tuple[dict[str, Any], ...]


class Content(_Record, frozen=True):
    """All files of a registry, merged."""

    services: dict[str, Service] = {}
    tasks: dict[str, TaskType] = {}
    agents: dict[str, AgentRecord] = {}
    operators: dict[str, OperatorRecord] = {}
