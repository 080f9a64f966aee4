"""What a request for a token would be answered, where nobody asks: by the ceiling and the policies, as the broker decides.

What only a running broker knows is left out: suspensions and reductions, limits, what the services' verifiers enforce.
"""

import datetime
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal, NamedTuple

import msgspec

from broker.errors import AccessDenied, BrokerError, ConfigurationError
from broker.policy import asking
from broker.policy.decision import Decision, Question
from broker.policy.policies import PolicyFolder
from broker.policy.policy import Policy
from broker.registry import ceiling
from broker.registry.records import AgentRecord, Positive
from broker.registry.registry import Agent, Registry
from broker.spiffe_id import trust_domain
from broker.tasks import Exposure, Task
from broker.toml_file import nearest
from broker.workload import PRIVATE_KEY, Source, Workload, key_workload
from scopes.claims import Confirmation
from scopes.clock import Instant
from scopes.errors import InvalidScope
from scopes.scope import Scope

MONDAY = datetime.datetime(2027, 1, 4, 12, tzinfo=datetime.UTC)
"""When a request is made that does not say when: on a Monday at noon, so that nobody's office is closed."""

Proof = Literal["none", "dpop", "mtls"]
Count = Annotated[int, msgspec.Meta(ge=0)]

_CONFIRMATIONS = {"none": None, "dpop": Confirmation(jkt="-"), "mtls": Confirmation(x5t_s256="-")}


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A request as it would be. `task` is its type, the agent's default where it is empty; `within` are those above it.

    `ttl` and `age` are seconds; without a `ttl` the longest of the action is asked for. `tainted` and `labels` are what the
    task's tree was exposed to before. `trust_domain` and `identity_source` are those of the agent's first workload.
    """

    agent: str
    scope: str
    task: str = ""
    within: tuple[str, ...] = ()
    proof: Proof = "dpop"
    at: Annotated[datetime.datetime, msgspec.Meta(tz=True)] = MONDAY
    ttl: Positive | None = None
    age: Count = 0
    recent_refusals: Count = 0
    tainted: bool = False
    labels: tuple[str, ...] = ()
    approved: bool = False
    reductions: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    identity_source: Source | None = None
    trust_domain: str = ""


class Verdict(NamedTuple):
    """What a request would be answered. Without a decision no policy was asked, and `said` is why."""

    reason: str
    policies: tuple[str, ...] = ()
    said: str = ""
    decision: Decision | None = None
    ends_on_taint: bool = False
    ends_on_labels: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Tell whether the answer is yes."""
        return self.decision is not None and self.decision.allowed

    @property
    def answer(self) -> str:
        """The answer in a few words: `allowed`, or `refused` with its reason, and the policies that decided."""
        what = "allowed" if self.allowed else f"refused ({self.reason})"
        return f"{what} by {', '.join(self.policies)}" if self.policies else what


class Trials:
    """Says what requests would be answered by these policies and this registry. `max_ttl` is that of the settings."""

    def __init__(self, folder: PolicyFolder, registry: Registry, *, max_ttl: int) -> None:
        self.folder = folder
        self.registry = registry
        self.max_ttl = max_ttl
        self._clock = _Stopped()
        self.policy = Policy(folder, registry, clock=self._clock)

    def verdict(self, trial: Trial) -> Verdict:
        """Return the answer; raise `ConfigurationError` for a request that names what is not there."""
        verdict = self.decide(trial)
        if verdict.decision is None or not verdict.allowed:
            return verdict
        on_taint, on_labels = self.policy.ends_on(verdict.decision)
        return verdict._replace(ends_on_taint=on_taint, ends_on_labels=on_labels)

    def decide(self, trial: Trial) -> Verdict:
        """Return the answer as `verdict` does, without what it ends on."""
        question = self.question(trial)
        if question.agent.record.missing:
            lacking = ", ".join(question.agent.record.missing)
            return Verdict("agent_declared", said=f"{trial.agent} is declared only: its record lacks {lacking}")
        try:
            asking.check_ceiling(question, self.registry)
        except AccessDenied as error:
            return Verdict(error.reason, error.policies, str(error))
        self._clock.wall = _milliseconds(trial.at)
        decision = self.policy.decide(asking.as_read(asking.bounded(question, max_ttl=self.max_ttl), question.exposure))
        return Verdict(decision.reason, decision.policies, "", decision)

    def problems(self, trial: Trial) -> list[str]:
        """Say what is odd about a request that somebody has written: a misspelt name would look like a policy that works."""
        known = self.registry.data_classes | self.registry.content.data_classes.keys()
        found = [*_unknown(trial, self.registry), *_not_there("class of data", trial.labels, known)]
        return found + ["groups are those of a user, and there is no user"] * bool(trial.groups and not trial.user)

    def question(self, trial: Trial) -> Question:
        """Return what is asked; raise `ConfigurationError` with everything that it names and is not there."""
        problems = list(_unknown(trial, self.registry))
        if problems:
            raise ConfigurationError(problems)
        scope = Scope.parse(trial.scope)
        entry = self.registry.entry(scope)
        agent = self.registry.agent(trial.agent)
        workload = _workload(agent, trial)
        return Question(
            agent=agent,
            workload=workload,
            task=_task(agent, workload, trial),
            scope=ceiling.resolve_fields(scope, entry),
            entry=entry,
            ttl=trial.ttl or entry.action.max_ttl,
            confirmation=_CONFIRMATIONS[trial.proof],
            exposure=Exposure(trial.tainted, frozenset(trial.labels)),
            reductions=tuple(sorted(trial.reductions)),
            recent_refusals=trial.recent_refusals,
            approved=trial.approved,
        )


class _Stopped:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.wall = 0

    def now(self) -> Instant:
        return Instant(self.wall, self.wall)


def _milliseconds(at: datetime.datetime) -> int:
    return int(at.timestamp()) * 1000


def _unknown(trial: Trial, registry: Registry) -> Iterator[str]:
    content = registry.content
    yield from _not_there("agent", [trial.agent], content.agents)
    if trial.agent in content.agents:
        yield from _not_there("task type", [*trial.within, _type(trial, content.agents[trial.agent])], content.tasks)
    try:
        scope = Scope.parse(trial.scope)
        ceiling.resolve_fields(scope, registry.entry(scope))
    except (BrokerError, InvalidScope) as error:
        yield str(error)


def _not_there(what: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = set(known)
    for name in names:
        if not name:
            yield f"there is no default {what}: name one"
        elif name not in there:
            yield f"there is no {what} {name!a}{nearest(name, there)}"


def _type(trial: Trial, record: AgentRecord) -> str:
    return trial.task or record.default_task or ""


def _workload(agent: Agent, trial: Trial) -> Workload:
    trust, source = _identity(agent.record)
    trust, source = trial.trust_domain or trust, trial.identity_source or source
    if source == PRIVATE_KEY:
        return Workload(key_workload(agent.name), 0, source)
    return Workload(f"{trust}:{agent.name}" if source == "oidc" else f"spiffe://{trust}/{agent.name}", 0, source)


def _identity(record: AgentRecord) -> tuple[str, Source]:
    """Return who vouches for the agent, and how, by the first of its workloads."""
    if not record.workloads:
        return PRIVATE_KEY, "private-key"
    first = record.workloads[0]
    if first.spiffe is not None:
        return trust_domain(first.spiffe.removesuffix("/*")) or "", "jwt-svid"
    return first.oidc or "", "oidc"


def _task(agent: Agent, workload: Workload, trial: Trial) -> Task:
    type, now = _type(trial, agent.record), _milliseconds(trial.at)
    types = (*trial.within, type)
    return Task(
        id=f"tsk_{len(types)}",
        agent=agent.name,
        workload=workload.id,
        subject=trial.user or workload.id,
        type=type,
        types=types,
        purpose="",
        status="open",
        created=now - trial.age * 1000,
        ends=now,
        path=tuple(f"tsk_{number}" for number in range(1, len(types) + 1)),
        envelope=(),
        user=trial.user,
        groups=tuple(sorted(trial.groups)),
    )
