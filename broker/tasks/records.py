"""A task as it is declared and as it is kept."""

import msgspec

from broker.errors import InvalidRequest
from broker.store import shard_of_id
from scopes.errors import InvalidScope
from scopes.scope import Scope, canonical_prefix, prefix_covers

TASK = "tsk_"
MAX_PURPOSE = 500
MAX_RESOURCES = 50

OPEN = "open"
OUTCOMES = ("completed", "failed", "cancelled", "timed_out")
"""How a task can end; `ending` stands between `open` and these while its leases are being ended."""


def is_task_id(text: str) -> bool:
    """Tell whether the text can be the id of a task."""
    return shard_of_id(text, TASK) is not None


def task_shard(id: str) -> int:
    """Return the shard of a task by its id, which has to be one."""
    shard = shard_of_id(id, TASK)
    assert shard is not None
    return shard


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an agent says it is about to do. `max_duration` is seconds; `resources` are prefixes that narrow the type."""

    type: str
    purpose: str = ""
    resources: tuple[str, ...] | None = None
    max_duration: int | None = None
    parent: str | None = None

    def check(self) -> None:
        """Raise `InvalidRequest` for what no task can be."""
        if len(self.purpose) > MAX_PURPOSE:
            raise InvalidRequest(f"the purpose has more than {MAX_PURPOSE} characters")
        if self.max_duration is not None and self.max_duration < 1:
            raise InvalidRequest("max_duration is at least one second")
        if self.resources is not None and not 1 <= len(self.resources) <= MAX_RESOURCES:
            raise InvalidRequest(f"resources names 1 to {MAX_RESOURCES} prefixes; leave it out for all that the type allows")
        try:
            for prefix in self.resources or ():
                canonical_prefix(prefix)
        except InvalidScope as error:
            raise InvalidRequest(f"resources: {error}") from None


class Delegation(msgspec.Struct, frozen=True):
    """By which lease of the task above another agent's task is done, and what holds for it because of that.

    No token of it says more than the `scope` of that lease. `ends_with` are the events that end the lease, and with it these
    tokens. `actors` are the workloads through which it came, the last first. Where the lease's token `is_bound`, so are these.
    `agents` are those of the tasks above, from the root down.
    """

    lease: str
    scope: str
    ends_with: tuple[str, ...]
    actors: tuple[str, ...] = ()
    is_bound: bool = False
    agents: tuple[str, ...] = ()


class Task(msgspec.Struct, frozen=True):
    """A task as it is kept. `created` and `ends` are milliseconds by the store's clock; `path` leads from the root to it.

    `subject` is the workload that declared the root task; `types` are those of the whole path. `envelope` holds for each
    task of the path that named resources the prefixes it named: every one of them has to cover what is asked for, so a
    child is never wider than its parent. `outcome` is how it ends, once it is ending.

    `user` is for whom it is done, `groups` those that their token named; empty where it is done for nobody. Then `subject`
    is the user. Both are the root's, for the whole tree. `delegation` is there where a task of the path was opened by a lease
    of the task above it; it is that of the last such step.
    """

    id: str
    agent: str
    workload: str
    subject: str
    type: str
    types: tuple[str, ...]
    purpose: str
    status: str
    created: int
    ends: int
    path: tuple[str, ...]
    envelope: tuple[tuple[str, ...], ...]
    outcome: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    delegation: Delegation | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether tokens can be asked for this task, as far as its record says; its end may have come since."""
        return self.status == OPEN

    @property
    def agents(self) -> tuple[str, ...]:
        """Whose the tasks of the path are, as `types` are theirs."""
        above = self.delegation.agents if self.delegation is not None else ()
        return (*above, *(self.agent,) * (len(self.types) - len(above)))

    def allows(self, scope: Scope) -> bool:
        """Tell whether the declared resources of this task and of every task above it cover the scope's resource."""
        return all(any(prefix_covers(prefix, scope.resource) for prefix in prefixes) for prefixes in self.envelope)
