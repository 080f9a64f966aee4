"""Takes decisions again that an audit record tells of, by other policies and another registry than those that took them."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from broker.errors import ConfigurationError
from broker.policy import named
from broker.policy.facts import UNNAMED, Facts, Seen
from broker.policy.policies import each
from broker.policy.trials import MONDAY, Proof, Trial, Trials, Verdict
from broker.policy.windows import moved
from broker.workload import Source
from scopes.scope import Scope

NOT_THERE = "not_there"
"""Why a request is refused that names what the other registry does not have."""


class Taken(NamedTuple):
    """A decision as it was taken on what was seen; allowed where there is no reason against it. `user` where it is known."""

    seen: Seen
    scope: str
    reason: str = ""
    policies: tuple[str, ...] = ()
    user: str = ""


class Again(NamedTuple):
    """A decision that was taken again. `is_certain` where everything that the policies look at is known."""

    verdict: Verdict
    is_certain: bool = True


class Replay:
    """Takes decisions again."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        reads = trials.folder.reads
        self._users = sorted(named.texts(tuple(each(trials.folder).values()), "id") - {""}) if "id" in reads else []

    def again(self, taken: Taken) -> Again:
        """Decide again. Of a user who is not known it is decided for each whom policies name, and for any other."""
        first, *others = [self._verdict(trial) for trial in self._trials_of(taken)]
        return Again(first, all(other.allowed == first.allowed for other in others))

    def _trials_of(self, taken: Taken) -> Iterator[Trial]:
        trial = trial_of(taken)
        yield trial
        if trial.user == UNNAMED:
            yield from (msgspec.structs.replace(trial, user=user) for user in self._users)

    def _verdict(self, trial: Trial) -> Verdict:
        try:
            return self._trials.verdict(trial)
        except ConfigurationError as error:
            return Verdict(NOT_THERE, said=str(error))


def trial_of(taken: Taken) -> Trial:
    """Return the request that was decided on. Of tasks above its own only the number is known; they count as of its type."""
    facts = taken.seen.facts
    return Trial(
        agent=facts.agent,
        scope=_scope(taken.scope, facts),
        task=facts.task_type,
        within=(facts.task_type,) * facts.depth,
        proof=msgspec.convert(facts.proof, Proof),
        at=moved(MONDAY, taken.seen.moment),
        ttl=facts.ttl,
        age=facts.age,
        recent_refusals=facts.recent_refusals,
        tainted=facts.tainted,
        labels=facts.labels,
        approved=facts.approved,
        reductions=facts.reductions,
        user=taken.user or facts.user,
        groups=facts.groups,
        identity_source=msgspec.convert(facts.identity_source, Source),
        trust_domain=facts.trust_domain,
    )


def _scope(text: str, facts: Facts) -> str:
    # Where nobody named fields it was decided on those of the catalogue, which may name others now.
    return str(Scope.parse(text)._replace(fields=facts.fields or None))
