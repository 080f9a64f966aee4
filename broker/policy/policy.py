"""The second lock: Cedar decides inside the ceiling, at request time, default deny, `forbid` wins (`DESIGN.md` 3.2)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from broker.errors import AccessDenied
from broker.policy import entities
from broker.policy.decision import PROOFS, Decision, Question
from broker.policy.entities import Asked, Uid
from broker.policy.facts import UNNAMED, Facts, Moment, Seen, facts_of
from broker.policy.policies import PolicyFolder
from broker.policy.slices import Answer, Slices, keep
from broker.registry.registry import Registry
from scopes.clock import Clock

MAX_REMEMBERED = 10_000
"""How many answers are remembered. A policy is a function of what it sees, so the same question has the same answer."""

_REFUSED = ("forbidden", "not_permitted")

_TAINT = "(taint)"
"""What outsiders wrote, where it stands beside the names of classes of data; no class is called so."""


class Policy:
    """Decides. An error while a policy is evaluated means no, whatever the others say."""

    def __init__(self, folder: PolicyFolder, registry: Registry, *, clock: Clock) -> None:
        self._folder = folder
        self._registry = registry
        self._clock = clock
        self._remembered: dict[tuple[Facts, Moment], Decision] = {}
        self._answers: dict[tuple[Facts, Moment], Answer] = {}
        self._kinds: dict[tuple[str, str], str] = {}
        self._ends: dict[tuple[Facts, Moment], tuple[bool, tuple[str, ...]]] = {}

    @property
    def version(self) -> str:
        """The digest of the policies and the registry in force."""
        return self._folder.version

    @property
    def folder(self) -> PolicyFolder:
        """The policies that decide."""
        return self._folder

    def decide(self, question: Question) -> Decision:
        """Decide on a token."""
        return self.judge(facts_of(question, kept=self._folder.kept, now=self._clock.now().wall), self.moment())

    def moment(self) -> Moment:
        """Return the present moment."""
        return Moment.at(self._clock.now().wall)

    def judge(self, facts: Facts, moment: Moment) -> Decision:
        """Decide on facts. Whoever calls sees to it that the registry knows the agent and the action that they name."""
        known = self._remembered.get((facts, moment))
        return (
            known
            if known is not None
            else keep(self._remembered, (facts, moment), self._judged(facts, moment), most=MAX_REMEMBERED)
        )

    def answer(self, facts: Facts, moment: Moment) -> Answer:
        """Say yes or no to facts, as `judge` does, without saying what would help."""
        asked = msgspec.structs.replace(facts, agent=self._kind_of(facts)), moment
        known = self._answers.get(asked)
        if known is not None:
            return known
        return keep(self._answers, asked, self._answer(facts, moment, self._folder.enforced), most=MAX_REMEMBERED)

    def _kind_of(self, facts: Facts) -> str:
        """Name all agents that have the same answers to what this one asks: itself alone, where a policy there names any."""
        place = facts.agent, facts.action
        known = self._kinds.get(place)
        if known is not None:
            return known
        asked, record = self._asked(facts, self.moment()), self._registry.agent(facts.agent).record
        alike = f"{UNNAMED} {record.environment} {record.owner}"
        is_told_apart = self._folder.enforced.name_agents(asked)
        return keep(self._kinds, place, facts.agent if is_told_apart else alike, most=MAX_REMEMBERED)

    def ends_on(self, decision: Decision) -> tuple[bool, tuple[str, ...]]:
        """Tell what an answer does not survive: the taint of the task's tree, and which classes of data it may yet read."""
        assert decision.seen is not None
        facts, moment = decision.seen.facts, decision.seen.moment
        known = self._ends.get((facts, moment))
        return (
            known if known is not None else keep(self._ends, (facts, moment), self.ends_of(facts, moment), most=MAX_REMEMBERED)
        )

    def ends_of(self, facts: Facts, moment: Moment) -> tuple[bool, tuple[str, ...]]:
        """Tell the same of facts that are allowed, without remembering it."""
        yet = [_TAINT] if "tainted" in self._folder.reads and not facts.tainted else []
        yet += sorted(self._registry.data_classes.difference(facts.labels)) if self._folder.reads_labels else []
        fatal = [name for name in yet if not self._survives(facts, moment, [name])]
        harmless = [name for name in yet if name not in fatal]
        # Where none of these alone is too much and all together are, it is not known which of them: so each of them is.
        if len(harmless) > 1 and not self._survives(facts, moment, harmless):
            fatal = yet
        return _TAINT in fatal, tuple(name for name in fatal if name != _TAINT)

    def _survives(self, facts: Facts, moment: Moment, names: Sequence[str]) -> bool:
        """Tell whether the answer would be the same yes, had the task's tree read all of these as well."""
        labels = tuple(sorted({*facts.labels, *names} - {_TAINT}))
        exposed = msgspec.structs.replace(facts, tainted=facts.tainted or _TAINT in names, labels=labels)
        return self.answer(exposed, moment).allowed

    def check_operation(self, principal: Uid, action: str, resource: Uid, attributes: dict[str, Any]) -> Decision:
        """Decide on an operation on the broker itself; raise `AccessDenied` unless it is allowed."""
        asked = entities.of_operation(principal, action, resource, attributes=attributes, registry=self._registry)
        reason, policies = self._folder.enforced.ask(asked)
        if reason:
            raise AccessDenied(f"{principal[0].lower()} {principal[1]} may not {action}", reason=reason, policies=policies)
        return Decision(reason, policies, self.version)

    def _judged(self, facts: Facts, moment: Moment) -> Decision:
        answer = self.answer(facts, moment)
        reason = self._what_would_help(facts, moment, answer.reason) if answer.reason in _REFUSED else answer.reason
        return Decision(reason, answer.policies, self.version, Seen(facts, *moment), self._shadow(facts, moment, answer))

    def _what_would_help(self, facts: Facts, moment: Moment, reason: str) -> str:
        """Say what is missing where that is a proof, which the caller can send, or a person's yes."""

        def would_do(**changes: Any) -> bool:
            return self.answer(msgspec.structs.replace(facts, **changes), moment).allowed

        proofs = PROOFS if facts.proof == "none" and reason == "forbidden" else ()
        if any(would_do(proof=proof) for proof in proofs):
            return "proof_required"
        if facts.approved:
            return reason
        if would_do(approved=True):
            return "approval_required"
        # Of two things that are missing, the one that takes no person's time comes first.
        return "proof_required" if any(would_do(proof=proof, approved=True) for proof in proofs) else reason

    def _shadow(self, facts: Facts, moment: Moment, answer: Answer) -> tuple[str, ...]:
        """Name the policies in shadow mode that would have turned the answer."""
        if self._folder.tried is None:
            return ()
        other = self._answer(facts, moment, self._folder.tried)
        return tuple(id for id in other.policies if id in self._folder.shadow) if other.allowed != answer.allowed else ()

    def _answer(self, facts: Facts, moment: Moment, slices: Slices) -> Answer:
        return slices.ask(self._asked(facts, moment))

    def _asked(self, facts: Facts, moment: Moment) -> Asked:
        return entities.of_token(facts, moment, self._registry, reads=self._folder.reads)
