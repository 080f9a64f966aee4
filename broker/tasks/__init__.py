"""Declared tasks and their tree: access belongs to a task, never to an agent as such."""

from broker.tasks.behalf import NOBODY, Above, Behalf
from broker.tasks.exposures import Exposure, Exposures, Told
from broker.tasks.records import OUTCOMES, Declaration, Delegation, Task, is_task_id, task_shard
from broker.tasks.tasks import Ending, Tasks

__all__ = [
    "NOBODY",
    "OUTCOMES",
    "Above",
    "Behalf",
    "Declaration",
    "Delegation",
    "Ending",
    "Exposure",
    "Exposures",
    "Task",
    "Tasks",
    "Told",
    "is_task_id",
    "task_shard",
]
