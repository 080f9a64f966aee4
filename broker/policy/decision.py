"""The policy question and its answer."""

from typing import NamedTuple

from broker.registry.registry import Agent, Entry
from broker.tasks import Task
from broker.workload import Workload
from scopes.claims import Confirmation
from scopes.scope import Scope

PROOFS = ("dpop", "mtls")
"""How the holder of a token can have to prove that it is theirs."""


class Question(NamedTuple):
    """May this agent have this scope for this task? `ttl` is seconds; `scope` has its fields spelled out.

    `confirmation` is the key or certificate that the token would be bound to, whose holder the caller proved to be.
    """

    agent: Agent
    workload: Workload
    task: Task
    scope: Scope
    entry: Entry
    ttl: int
    confirmation: Confirmation | None = None

    @property
    def proof(self) -> str:
        """How the holder of the token would have to prove it: `dpop`, `mtls`, or `none`."""
        if self.confirmation is None:
            return "none"
        return "dpop" if self.confirmation.jkt is not None else "mtls"


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
    decision: Decision
    leases_per_task: int
