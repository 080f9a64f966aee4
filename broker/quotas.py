"""Which limits of the registry count a lease: the agent's, those of its tasks of this type, and those of each task of the path.

Each of them is counted in the agent's shard, in the script that writes the lease. A task above that belongs to another agent
is in another shard; there the agent that delegated has its own limits.
"""

from collections.abc import Iterator

from broker.leases import Volume, volume
from broker.policy import Question
from broker.registry.records import Limits
from broker.registry.registry import Registry
from broker.store import shard_of
from broker.tasks import Task, task_shard


def quotas_of(question: Question, epoch: str, registry: Registry) -> tuple[Volume, ...]:
    """Return everything that counts the lease which the question asks for."""
    agent, task = question.agent, question.task
    shard = shard_of(agent.name)
    counted = [_bounded(volume.of_agent(shard, agent.name, epoch), agent.record.limits)]
    per_agent = _limits_per_agent(task.type, registry)
    if per_agent != Limits():
        counted.append(_bounded(volume.of_task_type(shard, agent.name, task.type, epoch), per_agent))
    return (*counted, *_of_path(task, shard, epoch, registry))


def _of_path(task: Task, shard: int, epoch: str, registry: Registry) -> Iterator[Volume]:
    for id, type in zip(task.path, task.types, strict=True):
        if task_shard(id) == shard:
            task_type = registry.task_type(type)
            yield _bounded(volume.of_task(shard, id, epoch), task_type.limits if task_type is not None else Limits())


def _limits_per_agent(type: str, registry: Registry) -> Limits:
    task_type = registry.task_type(type)
    return task_type.limits_per_agent if task_type is not None else Limits()


def _bounded(counted: Volume, limits: Limits) -> Volume:
    return counted._replace(
        per_minute=limits.leases_per_minute or 0, live_leases=limits.live_leases or 0, leases=limits.leases or 0
    )
