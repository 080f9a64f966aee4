"""The policy question and its answer."""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from broker.audit import Record
from broker.errors import AccessDenied
from broker.leases import Volume
from broker.registry.registry import Agent, Entry
from broker.tasks import Exposure, Task
from broker.workload import Workload
from scopes.claims import Confirmation
from scopes.scope import Scope

if TYPE_CHECKING:
    from broker.policy.facts import Facts, Seen

PROOFS = ("dpop", "mtls")
"""How the holder of a token can have to prove that it is theirs."""


class Question(NamedTuple):
    """May this agent have this scope for this task? `ttl` is seconds; `scope` has its fields spelled out.

    `confirmation` is the key or certificate that the token would be bound to, whose holder the caller proved to be. `exposure`
    is what the task's tree has been given to read, this scope included. `reductions` are those in force on what is asked for,
    `recent_refusals` how often the agent was refused in the last minutes.
    """

    agent: Agent
    workload: Workload
    task: Task
    scope: Scope
    entry: Entry
    ttl: int
    confirmation: Confirmation | None = None
    exposure: Exposure = Exposure()
    reductions: tuple[str, ...] = ()
    recent_refusals: int = 0
    approved: bool = False

    @property
    def proof(self) -> str:
        """How the holder of the token would have to prove it: `dpop`, `mtls`, or `none`."""
        if self.confirmation is None:
            return "none"
        return "dpop" if self.confirmation.jkt is not None else "mtls"


class Decision(NamedTuple):
    """The answer: allowed where there is no reason against it. `policies` are the ids that decided, `version` is of all.

    `seen` is what they saw of a question for a token. `shadow` are the policies in shadow mode that would have turned it.
    """

    reason: str
    policies: tuple[str, ...]
    version: str
    seen: "Seen | None" = None
    shadow: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Tell whether the answer is yes."""
        return not self.reason and bool(self.policies)

    @property
    def facts(self) -> "Facts":
        """What the policies saw of a question for a token, apart from the moment."""
        assert self.seen is not None
        return self.seen.facts

    def noted_in(self, record: Record) -> Record:
        """Return the audit record with what the policies saw and said."""
        return msgspec.structs.replace(
            record,
            policies=self.policies,
            policy_version=self.version,
            seen=msgspec.Raw(msgspec.json.encode(self.seen)),
            shadow=self.shadow,
        )


class PolicyRefusal(AccessDenied):
    """Policy says no."""

    def __init__(self, decision: Decision, scope: Scope) -> None:
        """Say which scope was refused, by which decision."""
        hint = ": send a DPoP proof, to have the token bound to your key" if decision.reason == "proof_required" else ""
        super().__init__(f"policy refuses {scope}{hint}", reason=decision.reason, policies=decision.policies)
        self.decision = decision


class Permit(NamedTuple):
    """A decision that allows: all that may be issued, and nothing more.

    `patterns` are, for each type of the task's path, those that allowed it; `quotas` are what counts it. The answer holds until
    the tree is exposed to more: `ends_on_taint` says that it would be no if the tree were tainted, `ends_on_labels` names the
    classes of data of which that is true.
    """

    question: Question
    decision: Decision
    patterns: tuple[tuple[str, ...], ...]
    quotas: tuple[Volume, ...]
    ends_on_taint: bool = False
    ends_on_labels: tuple[str, ...] = ()
