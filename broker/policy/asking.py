"""From a request to what policies are asked: the ceiling first, then what the task is given to read by the answer.

The request path and every tool that says what it would answer go through here, so that they cannot differ.
"""

from broker.errors import AccessDenied
from broker.policy.decision import Question
from broker.registry import ceiling
from broker.registry.registry import Registry
from broker.tasks import Exposure


def check_ceiling(question: Question, registry: Registry) -> tuple[tuple[str, ...], ...]:
    """Return, for each task type of the path, the patterns that allow the scope; raise `AccessDenied`."""
    agent, task, scope, entry = question.agent, question.task, question.scope, question.entry
    if task.type not in agent.record.tasks:
        raise AccessDenied(f"{agent.name} may not run {task.type!a} tasks any more", reason="outside_task_types")
    patterns = tuple(ceiling.check(scope, task_type, entry, registry) for task_type in task.types)
    if not task.allows(scope):
        raise AccessDenied(f"the task did not declare {scope.resource}", reason="outside_declaration")
    return patterns


def bounded(question: Question, *, max_ttl: int) -> Question:
    """Return the question for a life that the catalogue and the settings allow: a longer one is cut, not refused."""
    return question._replace(ttl=min(question.ttl, question.entry.action.max_ttl, max_ttl))


def as_read(question: Question, known: Exposure) -> Question:
    """Return the question as it is decided: as if the tree, which was exposed to what is known, had read this as well."""
    return question._replace(exposure=known | gained(question))


def gained(question: Question) -> Exposure:
    """Return what the task is given to read by this scope; what is only written tells it nothing."""
    entry = question.entry
    if entry.action.level != "read":
        return Exposure()
    return Exposure(entry.resource_type.untrusted, entry.resource_type.classes_of(question.scope.fields or ()))
