"""Declared tasks and their tree: access belongs to a task, never to an agent as such."""

from broker.tasks.exposures import Exposure, Exposures, Told
from broker.tasks.records import OUTCOMES, Declaration, Task, is_task_id, task_shard
from broker.tasks.tasks import Tasks

__all__ = ["OUTCOMES", "Declaration", "Exposure", "Exposures", "Task", "Tasks", "Told", "is_task_id", "task_shard"]
