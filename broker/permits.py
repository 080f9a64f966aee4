"""From a question to a permit: the ceiling first, policy second; what the task is given to read is committed before that."""

from broker.active import Rules
from broker.enforceable import Enforceable
from broker.errors import AccessDenied
from broker.feed.follower import Standpoint
from broker.policy import Decision, Permit, PolicyRefusal, Question
from broker.quotas import quotas_of
from broker.refusals import Refusals
from broker.registry import ceiling
from broker.tasks import Exposure, Exposures


class Permits:
    """Decides on questions for tokens. `max_ttl` is the longest life of any token, in seconds."""

    def __init__(self, *, exposures: Exposures, refusals: Refusals, enforceable: Enforceable, max_ttl: int) -> None:
        self._exposures = exposures
        self._enforceable = enforceable
        self._refusals = refusals
        self._max_ttl = max_ttl

    async def permit(self, rules: Rules, question: Question, standpoint: Standpoint) -> Permit:
        """Return what may be issued; raise `AccessDenied` where the ceiling or a policy says no, `Unavailable`."""
        patterns = _check_ceiling(rules, question)
        await self._enforceable.check(question.scope, question.entry, question.confirmation)
        question = question._replace(ttl=min(question.ttl, self._max_ttl))
        decision = await self._decide(rules, question, standpoint)
        quotas = quotas_of(question, standpoint.picture.epoch, rules.registry)
        return Permit(question, decision, patterns, quotas, *rules.policy.ends_on(decision))

    async def _decide(self, rules: Rules, question: Question, standpoint: Standpoint) -> Decision:
        """Decide with all that the tree was given to read, this included; what is new of that is committed."""
        task, gained = question.task, _read_by(question)
        known = await self._exposures.of(task, standpoint.picture, rules.registry.data_classes)
        refusals = await self._refusals.recent(question.agent.name)
        decision = rules.policy.decide(question._replace(exposure=known | gained, recent_refusals=refusals))
        if not decision.allowed:
            raise PolicyRefusal(decision, question.scope)
        audiences = rules.audiences_of_exposure(task, gained)
        await self._exposures.expose(task, gained, standpoint.picture, scope=str(question.scope), audiences=audiences)
        return decision


def _check_ceiling(rules: Rules, question: Question) -> tuple[tuple[str, ...], ...]:
    """Return, for each task type of the path, the patterns that allow the scope; raise `AccessDenied`."""
    agent, task, scope, entry = question.agent, question.task, question.scope, question.entry
    if task.type not in agent.record.tasks:
        raise AccessDenied(f"{agent.name} may not run {task.type!a} tasks any more", reason="outside_task_types")
    patterns = tuple(ceiling.check(scope, task_type, entry, rules.registry) for task_type in task.types)
    if not task.allows(scope):
        raise AccessDenied(f"the task did not declare {scope.resource}", reason="outside_declaration")
    return patterns


def _read_by(question: Question) -> Exposure:
    """Return what the task is given to read by this scope; what is only written tells it nothing."""
    entry = question.entry
    if entry.action.level != "read":
        return Exposure()
    return Exposure(entry.resource_type.untrusted, entry.resource_type.classes_of(question.scope.fields or ()))
