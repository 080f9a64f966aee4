"""The second lock: Cedar decides inside the ceiling, at request time, default deny, `forbid` wins (`DESIGN.md` 3.2)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cedarpy
import msgspec

from broker.errors import AccessDenied
from broker.policy import entities
from broker.policy.decision import PROOFS, Decision, Question
from broker.policy.entities import Asked, Uid, uid
from broker.policy.facts import Facts, Moment, Seen, facts_of
from broker.policy.policies import PolicyFolder
from broker.policy.slices import Slices
from broker.registry.registry import Registry
from scopes.clock import Clock

MAX_REMEMBERED = 10_000
"""How many answers are remembered. A policy is a function of what it sees, so the same question has the same answer."""

_REFUSED = ("forbidden", "not_permitted")

_TAINT = "(taint)"
"""What outsiders wrote, where it stands beside the names of classes of data; no class is called so."""


class _Answer(NamedTuple):
    reason: str
    policies: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        return not self.reason and bool(self.policies)


class Policy:
    """Decides. An error while a policy is evaluated means no, whatever the others say."""

    def __init__(self, folder: PolicyFolder, registry: Registry, *, clock: Clock) -> None:
        self._folder = folder
        self._registry = registry
        self._clock = clock
        self._remembered: dict[tuple[Facts, Moment], Decision] = {}

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
        if known is None:
            known = self._judged(facts, moment)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[facts, moment] = known
        return known

    def ends_on(self, decision: Decision) -> tuple[bool, tuple[str, ...]]:
        """Tell what an answer does not survive: the taint of the task's tree, and which classes of data it may yet read."""
        facts, seen = decision.facts, self._folder.reads
        yet = [_TAINT] if "tainted" in seen and not facts.tainted else []
        yet += sorted(self._registry.data_classes.difference(facts.labels)) if self._folder.reads_labels else []
        fatal = [name for name in yet if not self._survives(decision, [name])]
        harmless = [name for name in yet if name not in fatal]
        # Where none of these alone is too much and all together are, it is not known which of them: so each of them is.
        if len(harmless) > 1 and not self._survives(decision, harmless):
            fatal = yet
        return _TAINT in fatal, tuple(name for name in fatal if name != _TAINT)

    def _survives(self, decision: Decision, names: Sequence[str]) -> bool:
        """Tell whether the answer would be the same yes, at the same moment, had the task's tree read all of these as well."""
        assert decision.seen is not None
        facts, moment = decision.facts, decision.seen.moment
        labels = tuple(sorted({*facts.labels, *names} - {_TAINT}))
        exposed = msgspec.structs.replace(facts, tainted=facts.tainted or _TAINT in names, labels=labels)
        return self.judge(exposed, moment).allowed

    def check_operation(self, principal: Uid, action: str, resource: Uid, attributes: dict[str, Any]) -> Decision:
        """Decide on an operation on the broker itself; raise `AccessDenied` unless it is allowed."""
        asked = entities.of_operation(principal, action, resource, attributes=attributes, registry=self._registry)
        reason, policies = _ask(asked, self._folder.enforced)
        if reason:
            raise AccessDenied(f"{principal[0].lower()} {principal[1]} may not {action}", reason=reason, policies=policies)
        return Decision(reason, policies, self.version)

    def _judged(self, facts: Facts, moment: Moment) -> Decision:
        answer = self._answer(facts, moment, self._folder.enforced)
        reason = self._what_would_help(facts, moment, answer.reason) if answer.reason in _REFUSED else answer.reason
        return Decision(reason, answer.policies, self.version, Seen(facts, *moment), self._shadow(facts, moment, answer))

    def _what_would_help(self, facts: Facts, moment: Moment, reason: str) -> str:
        """Say what is missing where that is a proof, which the caller can send, or a person's yes."""

        def would_do(**changes: Any) -> bool:
            other = msgspec.structs.replace(facts, **changes)
            return self._answer(other, moment, self._folder.enforced).allowed

        proofs = PROOFS if facts.proof == "none" and reason == "forbidden" else ()
        if any(would_do(proof=proof) for proof in proofs):
            return "proof_required"
        if facts.approved:
            return reason
        if would_do(approved=True):
            return "approval_required"
        # Of two things that are missing, the one that takes no person's time comes first.
        return "proof_required" if any(would_do(proof=proof, approved=True) for proof in proofs) else reason

    def _shadow(self, facts: Facts, moment: Moment, answer: _Answer) -> tuple[str, ...]:
        """Name the policies in shadow mode that would have turned the answer."""
        if self._folder.tried is None:
            return ()
        other = self._answer(facts, moment, self._folder.tried)
        return tuple(id for id in other.policies if id in self._folder.shadow) if other.allowed != answer.allowed else ()

    def _answer(self, facts: Facts, moment: Moment, slices: Slices) -> _Answer:
        return _ask(entities.of_token(facts, moment, self._registry), slices)


def _ask(asked: Asked, slices: Slices) -> _Answer:
    known, context = (msgspec.json.encode(part).decode() for part in (asked.entities, asked.context))
    named = {"principal": uid(asked.principal), "action": uid(asked.action), "resource": uid(asked.resource)}
    result = cedarpy.is_authorized({**named, "context": context}, slices.of(asked), known)
    ids = result.diagnostics.id_annotations_by_reason
    policies = tuple(sorted(ids[id] for id in result.diagnostics.reasons))
    if result.diagnostics.errors:
        return _Answer("policy_error", policies)
    if result.allowed and policies:
        return _Answer("", policies)
    return _Answer("forbidden" if policies else "not_permitted", policies)
