"""A registry with two environments and all levels, policies from text, and questions about them."""

from pathlib import Path
from typing import Any

from broker import policy as policies
from broker.policy import Decision, Policy, PolicyFolder, Question
from broker.registry import ceiling
from broker.registry.registry import Registry
from broker.tasks import Task
from broker.workload import Workload
from scopes.scope import Scope
from tests.broker.clocks import StillClock
from tests.broker.registry import catalogue

REGISTRY = """
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"

[services.crm.resources.ticket]
data_classes = ["pii"]
untrusted    = true
fields       = { subject = [], email = ["pii"], card_number = ["financial", "pii"] }

[services.crm.resources.ticket.actions]
read   = { level = "read" }
draft  = { level = "draft" }
edit   = { level = "write" }
reply  = { level = "trigger", reversible = false }

[services.lab]
audience    = "https://lab.test"
environment = "test"
owner       = "lab-team@example.com"

[services.lab.resources.sample.actions]
read  = { level = "read" }
shake = { level = "trigger" }

[tasks.all]
purpose      = "Everything"
max_duration = 900
scopes       = [
  "crm:ticket/*#read[subject,email,card_number]", "crm:ticket/*#draft[subject]", "crm:ticket/*#edit[subject]",
  "crm:ticket/*#reply[subject]", "lab:sample/**#read", "lab:sample/**#shake",
]

[tasks.some]
purpose      = "Little"
max_duration = 60
scopes       = ["crm:ticket/*#read[subject]"]

[agents.bot]
owner       = "jane@example.com"
purpose     = "Drafting"
environment = "prod"
workloads   = [{ spiffe = "spiffe://prod/bot" }]
tasks       = ["all", "some"]
ends        = 2099-06-30

[agents.probe]
owner       = "joe@example.com"
purpose     = "Trying out"
environment = "test"
workloads   = [{ spiffe = "spiffe://prod/probe" }, { spiffe = "spiffe://stage/probe/*" }]
tasks       = ["all"]
ends        = 2099-06-30
"""
PERMIT_ALL = '@id("all") permit (principal, action, resource);\n'
READ_TICKET = "crm:ticket/4711#read[subject]"


def operators(*named: tuple[str, str]) -> str:
    """Write operators with a role and a key each."""
    return "".join(
        catalogue.OPERATOR.replace("jane", name)
        .replace('"admin"', f'"{role}"')
        .replace(catalogue.KEY, catalogue.toml_key(catalogue.key_of(name)))
        for name, role in named
    )


def registry(folder: Path, text: str = REGISTRY) -> Registry:
    """Read the registry that the questions are about."""
    (folder / "registry").mkdir(exist_ok=True)
    return catalogue.load(folder / "registry", text)


def load(folder: Path, *texts: str, registry_text: str = REGISTRY) -> PolicyFolder:
    """Read policies, one file for each text."""
    (folder / "policies").mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / "policies" / f"{number}.cedar").write_text(text, encoding="utf-8")
    return policies.load(folder / "policies", registry(folder, registry_text))


class Asker:
    """Asks the policies of a folder, at a moment that the test chooses."""

    def __init__(self, folder: Path, *texts: str, registry_text: str = REGISTRY) -> None:
        self.clock = StillClock()
        self.registry = registry(folder, registry_text)
        self._folder = load(folder, *texts, registry_text=registry_text)
        self.policy = self.anew()

    def anew(self) -> Policy:
        """Make the same policy, which has been asked nothing yet."""
        return Policy(self._folder, self.registry, clock=self.clock)

    def question(self, text: str = READ_TICKET, *, agent: str = "bot", **changes: Any) -> Question:
        """Ask for a scope, for a task of type `all` at the root; `type`, `depth`, `ttl` and `trust_domain` change that."""
        scope = Scope.parse(text)
        entry = self.registry.entry(scope)
        task = task_of(agent, changes.get("type", "all"), changes.get("depth", 0))
        return Question(
            self.registry.agent(agent),
            Workload(f"spiffe://{changes.get('trust_domain', 'prod')}/{agent}", 0, changes.get("source", "jwt-svid")),
            task,
            ceiling.resolve_fields(scope, entry),
            entry,
            changes.get("ttl", 60),
            changes.get("confirmation"),
            **{name: changes[name] for name in ("exposure", "reductions", "recent_refusals", "approved") if name in changes},
        )

    def decide(self, text: str = READ_TICKET, *, agent: str = "bot", **changes: Any) -> Decision:
        return self.policy.decide(self.question(text, agent=agent, **changes))

    def allows(self, text: str = READ_TICKET, *, agent: str = "bot", **changes: Any) -> bool:
        return self.decide(text, agent=agent, **changes).allowed


def task_of(agent: str, type: str, depth: int) -> Task:
    path = tuple(f"tsk_{number}" for number in range(depth + 1))
    workload = f"spiffe://prod/{agent}"
    return Task(
        id=path[-1],
        agent=agent,
        workload=workload,
        subject=workload,
        type=type,
        types=(type,),
        purpose="",
        status="open",
        created=0,
        ends=1,
        path=path,
        envelope=(),
    )
