"""The worked examples of `deploy/example`, and the cases beside their policies: what is asked, and what has to be answered."""

import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from broker import policy, toml_file
from broker.errors import AccessDenied, BrokerError
from broker.policy import Policy, PolicyFolder, Question
from broker.policy.facts import facts_of
from broker.registry import ceiling, files
from broker.registry.registry import Registry
from broker.tasks import Exposure, Task
from broker.workload import Workload
from scopes.claims import Confirmation
from scopes.scope import Scope
from tests.broker.clocks import StillClock
from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy" / "example"
NAMES = tuple(sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))
MONDAY = datetime.datetime(2027, 1, 4, 12, tzinfo=datetime.UTC)

_BOUND = {"none": None, "dpop": Confirmation(jkt="0ZcO"), "mtls": Confirmation(x5t_s256="bwcK")}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One question and its answer; what is absent of the answer may be anything. `age` and `ttl` are seconds."""

    name: str
    agent: str
    scope: str
    expect: str
    task: str | None = None
    within: tuple[str, ...] = ()
    proof: str = "dpop"
    at: datetime.datetime = MONDAY
    ttl: int | None = None
    age: int = 0
    recent_refusals: int = 0
    tainted: bool = False
    labels: tuple[str, ...] = ()
    approved: bool = False
    reductions: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    identity_source: str = "jwt-svid"
    trust_domain: str | None = None
    reason: str | None = None
    policies: tuple[str, ...] | None = None
    ends_on_taint: bool | None = None
    ends_on_labels: tuple[str, ...] | None = None

    def but(self, **changes: object) -> "Case":
        """Ask the same with something else, and say nothing of the answer but whether it is yes."""
        unsaid = {"reason": None, "policies": None, "ends_on_taint": None, "ends_on_labels": None}
        return msgspec.structs.replace(self, **unsaid | changes)


class Answer(NamedTuple):
    """What was answered, in the words of a case."""

    expect: str
    reason: str | None = None
    policies: tuple[str, ...] = ()
    ends_on_taint: bool | None = None
    ends_on_labels: tuple[str, ...] | None = None


class Example(NamedTuple):
    """One example, as it lies in its folder."""

    registry: Registry
    policies: PolicyFolder
    cases: tuple[Case, ...]

    @classmethod
    def named(cls, name: str) -> "Example":
        registry = files.load(FOLDER / name / "registry")
        return cls(registry, policy.load(FOLDER / name / "policies", registry), cases_of(FOLDER / name / "policies"))

    def on(self, name: str, registry: Registry) -> "Example":
        """Put the policies on another registry."""
        return self._replace(registry=registry, policies=policy.load(FOLDER / name / "policies", registry))

    def answer(self, case: Case) -> Answer:
        """Answer as `broker.permits` would: the ceiling first, policy second."""
        judge = Policy(self.policies, self.registry, clock=StillClock(case.at.replace(tzinfo=None).isoformat()))
        try:
            question = self._question(case)
        except BrokerError as error:
            return Answer("refused", error.reason)
        now = int(case.at.timestamp() * 1000)
        decision = judge.judge(facts_of(question, kept=self.policies.kept, now=now), judge.moment())
        if not decision.allowed:
            return Answer("refused", decision.reason, decision.policies)
        return Answer("allowed", None, decision.policies, *judge.ends_on(decision))

    def _question(self, case: Case) -> Question:
        agent, task, scope = self.registry.agent(case.agent), self._task(case), Scope.parse(case.scope)
        entry = self.registry.entry(scope)
        scope = ceiling.resolve_fields(scope, entry)
        if task.type not in agent.record.tasks:
            raise AccessDenied(f"{agent.name} may not run {task.type!a} tasks", reason="outside_task_types")
        for type in task.types:
            ceiling.check(scope, type, entry, self.registry)
        read = entry.resource_type if entry.action.level == "read" else None
        labels = frozenset(case.labels) | (read.classes_of(scope.fields or ()) if read is not None else frozenset())
        return Question(
            agent,
            Workload(task.workload, 0, case.identity_source),
            task,
            scope,
            entry,
            min(case.ttl or entry.action.max_ttl, entry.action.max_ttl),
            _BOUND[case.proof],
            Exposure(case.tainted or (read is not None and read.untrusted), labels),
            case.reductions,
            case.recent_refusals,
            case.approved,
        )

    def _task(self, case: Case) -> Task:
        record = self.registry.agent(case.agent).record
        types = (*case.within, case.task or record.default_task or "")
        domain = case.trust_domain or record.workloads[0].trust
        workload = f"spiffe://{domain}/{case.agent}"
        return Task(
            id="tsk_last",
            agent=case.agent,
            workload=workload,
            subject=case.user or workload,
            type=types[-1],
            types=types,
            purpose="",
            status="open",
            created=int(case.at.timestamp() - case.age) * 1000,
            ends=0,
            path=tuple(f"tsk_{number}" for number, _ in enumerate(types)),
            envelope=(),
            user=case.user,
            groups=case.groups,
        )


def cases_of(folder: Path) -> tuple[Case, ...]:
    """Read all `*.toml` of a folder of policies."""
    tables = [(path, table) for path in sorted(folder.glob("*.toml")) for table in toml_file.read(path)["case"]]
    return tuple(toml_file.convert(table, Case, where=f"{path.name}: {table.get('name')}") for path, table in tables)
