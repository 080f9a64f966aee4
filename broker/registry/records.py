"""What stands in the registry, as reviewed: frozen, typed, and nothing derived (`DESIGN.md` 6)."""

import datetime
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from broker.spiffe_id import trust_domain
from broker.workload import Workload
from scopes.levels import Level

Positive = Annotated[int, msgspec.Meta(ge=1)]

DEFAULT_TTL = 300
STALENESS: dict[Level, int] = {"read": 30, "draft": 15, "write": 10, "trigger": 3}
"""The seconds a verifier may go without news before it refuses a token of the level, unless the action says otherwise."""


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class WorkloadSelector(_Record, frozen=True):
    """Which workloads are meant: by `spiffe`, or by `oidc`, the name of a trust, with `claims` by path.

    `spiffe` is a SPIFFE id, or a prefix of one that ends in `/*` and matches from the next segment on. All `claims` have to
    be there with exactly these values. `names_may_be_reused` accepts names that the platform gives to somebody else once
    they are free.
    """

    spiffe: str | None = None
    oidc: str | None = None
    claims: dict[str, str] = {}
    names_may_be_reused: bool = False

    @property
    def text(self) -> str:
        """What is meant, for people."""
        if self.spiffe is not None:
            return self.spiffe
        return " ".join([f"{self.oidc}:", *(f"{path}={value}" for path, value in sorted(self.claims.items()))])

    @property
    def trust(self) -> str | None:
        """The trust domain of the SPIFFE ids, else the name of the trust; it is what `Workload.trust` is."""
        return self.oidc if self.spiffe is None else trust_domain(self.spiffe.removesuffix("/*"))

    def matches(self, workload: Workload) -> bool:
        """Tell whether the workload is one of those that are meant."""
        if self.spiffe is not None:
            return _covers(self.spiffe, workload.id) and workload.source != "oidc"
        holds = (workload.claims.get(path) == value for path, value in self.claims.items())
        return workload.source == "oidc" and workload.trust == self.oidc and bool(self.claims) and all(holds)

    def overlaps(self, other: "WorkloadSelector") -> bool:
        """Tell whether some workload can match both."""
        if self.spiffe is not None and other.spiffe is not None:
            return _overlap(self.spiffe, other.spiffe)
        both = self.claims.keys() & other.claims.keys()
        return (
            self.oidc is not None and self.oidc == other.oidc and all(self.claims[path] == other.claims[path] for path in both)
        )


def _overlap(one: str, other: str) -> bool:
    first, second = one.removesuffix("*"), other.removesuffix("*")
    if first == one or second == other:
        return _covers(one, other) or _covers(other, one)
    return first.startswith(second) or second.startswith(first)


def _covers(spiffe: str, id: str) -> bool:
    if spiffe.endswith("/*"):
        return id.startswith(spiffe[:-1]) and len(id) >= len(spiffe)
    return id == spiffe


class Action(_Record, frozen=True):
    """What a service's owner says of one action. `max_ttl` and `max_staleness` are seconds.

    `single_use` is `None` where its owner says nothing; what holds is `is_single_use`. `external` says that something leaves
    the organisation by it.
    """

    level: Level
    max_ttl: Positive = DEFAULT_TTL
    reversible: bool = True
    external: bool = False
    single_use: bool | None = None
    max_uses: Positive | None = None
    max_staleness: Positive | None = None
    default_fields: tuple[str, ...] | None = None

    @property
    def staleness(self) -> int:
        """The seconds a verifier may go without news before it refuses a token for this action."""
        return self.max_staleness if self.max_staleness is not None else STALENESS[self.level]

    @property
    def is_single_use(self) -> bool:
        """Whether a token for this action may be used once only: as its owner says, else where it triggers something."""
        if self.single_use is not None:
            return self.single_use
        return self.level == "trigger" and self.max_uses is None


class ResourceType(_Record, frozen=True):
    """One type of record: its fields with their data classes, and what can be done to it."""

    data_classes: tuple[str, ...] = ()
    untrusted: bool = False
    fields: dict[str, tuple[str, ...]] = {}
    actions: dict[str, Action] = {}

    def classes_of(self, fields: Iterable[str]) -> frozenset[str]:
        """Return every class of data that these fields of a record hold: their own, and those of the record as a whole."""
        return frozenset(self.data_classes).union(*(self.fields.get(field, ()) for field in fields))


class DataClass(_Record, frozen=True):
    """What policies should know of a class of data. Nothing is known of one that is not declared, so it is sensitive."""

    description: str = ""
    sensitive: bool = True
    office_hours: bool = False


class Service(_Record, frozen=True):
    """A protected service. Its `workloads`, and whoever signs with one of its `keys`, may follow the feed for its audience.

    `enforces` names the constraints that it holds tokens to, where its verifiers do not say so themselves.
    """

    audience: str
    environment: str
    owner: str
    workloads: tuple[WorkloadSelector, ...] = ()
    keys: tuple[dict[str, Any], ...] = ()
    enforces: tuple[str, ...] | None = None
    resources: dict[str, ResourceType] = {}


class Limits(_Record, frozen=True):
    """How many leases may be given in a minute, may live at once, and may be given in all; `None` is no limit."""

    leases_per_minute: Positive | None = None
    live_leases: Positive | None = None
    leases: Positive | None = None


class TaskType(_Record, frozen=True):
    """The ceiling of a kind of task, approved in advance. `max_duration` is seconds.

    `limits` are of each task, what is below it included; `limits_per_agent` of all tasks of this type that one agent has.
    `purpose_class` is a word for policies, where `purpose` is a sentence for people.
    """

    purpose: str
    max_duration: Positive
    scopes: tuple[str, ...]
    purpose_class: str = ""
    limits: Limits = Limits()
    limits_per_agent: Limits = Limits()


class UserBinding(_Record, frozen=True):
    """For whose users an agent may act: those of the trust `issuer` whose token was issued to one of the `clients`."""

    issuer: str
    clients: tuple[str, ...]


class AgentRecord(_Record, frozen=True):
    """An agent as reviewed; without owner, purpose, environment and end date it is only declared."""

    owner: str = ""
    purpose: str = ""
    environment: str = ""
    workloads: tuple[WorkloadSelector, ...] = ()
    keys: tuple[dict[str, Any], ...] = ()
    tasks: tuple[str, ...] = ()
    default_task: str | None = None
    users: tuple[UserBinding, ...] = ()
    delegates_to: tuple[str, ...] = ()
    ends: datetime.date | None = None
    review_by: datetime.date | None = None
    limits: Limits = Limits()

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

    data_classes: dict[str, DataClass] = {}
    services: dict[str, Service] = {}
    tasks: dict[str, TaskType] = {}
    agents: dict[str, AgentRecord] = {}
    operators: dict[str, OperatorRecord] = {}
