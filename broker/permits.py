"""From a question to a permit: the ceiling first, policy second; what the task is given to read is committed before that."""

from broker.active import Rules
from broker.enforceable import Enforceable
from broker.feed.follower import Standpoint
from broker.policy import Decision, Permit, PolicyRefusal, Question, asking
from broker.quotas import quotas_of
from broker.refusals import Refusals
from broker.tasks import Exposures, Told


class Permits:
    """Decides on questions for tokens. `max_ttl` is the longest life of any token, in seconds."""

    def __init__(self, *, exposures: Exposures, refusals: Refusals, enforceable: Enforceable, max_ttl: int) -> None:
        self._exposures = exposures
        self._enforceable = enforceable
        self._refusals = refusals
        self._max_ttl = max_ttl

    async def permit(self, rules: Rules, question: Question, standpoint: Standpoint) -> Permit:
        """Return what may be issued; raise `AccessDenied` where the ceiling or a policy says no, `Unavailable`."""
        patterns = asking.check_ceiling(question, rules.registry)
        await self._enforceable.check(question.scope, question.entry, question.confirmation)
        question = asking.bounded(question, max_ttl=self._max_ttl)
        decision = await self._decide(rules, question, standpoint)
        quotas = quotas_of(question, standpoint.picture.epoch, rules.registry)
        return Permit(question, decision, patterns, quotas, *rules.policy.ends_on(decision))

    async def _decide(self, rules: Rules, question: Question, standpoint: Standpoint) -> Decision:
        """Decide with all that the tree was given to read, this included; what is new of that is committed."""
        task, gained = question.task, asking.gained(question)
        known = await self._exposures.of(task, standpoint.picture, rules.registry.data_classes)
        refusals = await self._refusals.recent(question.agent.name)
        decision = rules.policy.decide(asking.as_read(question, known)._replace(recent_refusals=refusals))
        if not decision.allowed:
            raise PolicyRefusal(decision, question.scope)

        def tell() -> Told:
            return Told(rules.audiences_of_exposure(task, gained), rules.activation)

        await self._exposures.expose(task, gained, standpoint.picture, scope=str(question.scope), tell=tell)
        return decision
