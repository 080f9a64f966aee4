"""The policy question and its answer."""

from typing import NamedTuple

from broker.registry.registry import Agent, Entry
from broker.tasks import Task
from scopes.scope import Scope


class Question(NamedTuple):
    """May this agent have this scope for this task? `ttl` is seconds; `scope` has its fields spelled out."""

    agent: Agent
    trust_domain: str
    task: Task
    scope: Scope
    entry: Entry
    ttl: int


class Decision(NamedTuple):
    """The answer: allowed where there is no reason against it. `policies` are the ids that decided, `version` is of all."""

    reason: str
    policies: tuple[str, ...]
    version: str

    @property
    def allowed(self) -> bool:
        """Tell whether the answer is yes."""
        return not self.reason and bool(self.policies)


class Permit(NamedTuple):
    """A decision that allows: all that may be issued, and nothing more. `leases_per_task` is 0 where there is no limit."""

    question: Question
    workload: str
    decision: Decision
    leases_per_task: int
