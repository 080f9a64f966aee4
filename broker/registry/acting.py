"""Whether agents may still do tasks of these types, one for another and for a user: the registry alone says so.

It is asked whenever something is issued, and again of what was, when the registry has changed.
"""

from collections.abc import Sequence
from itertools import pairwise

from broker.errors import AccessDenied, UnauthorizedClient
from broker.registry.registry import Registry


def check(registry: Registry, agents: Sequence[str], types: Sequence[str], *, users: str) -> None:
    """Raise unless each agent runs its task's type, and has the task from who may hand it down.

    `agents` and `types` are those of the path of tasks, from the root; `users` is the trust of the user for whom it is done,
    empty for nobody. Raises `AccessDenied`, `UnauthorizedClient`.
    """
    if not agents or len(agents) != len(types):
        raise AccessDenied("it is not known whose tasks these are", reason="outside_task_types")
    for agent, type in zip(agents, types, strict=True):
        if type not in _tasks_of(registry, agent):
            raise AccessDenied(f"{agent} may not run {type!a} tasks any more", reason="outside_task_types")
    for delegating, delegate in pairwise(agents):
        check_delegates(registry, delegating, delegate)
    record = registry.content.agents[agents[0]]
    if users and users not in {binding.issuer for binding in record.users}:
        raise not_delegated(f"{agents[0]} acts for no users of {users} any more")


def check_delegates(registry: Registry, delegating: str, delegate: str) -> None:
    """Raise `UnauthorizedClient` unless the one agent may hand its tasks to the other; to itself each may."""
    record = registry.content.agents.get(delegating)
    if delegating != delegate and (record is None or delegate not in record.delegates_to):
        raise not_delegated(f"the agent whose token this is about delegates nothing to {delegate}")


def not_delegated(said: str) -> UnauthorizedClient:
    """Say why somebody may not act for another."""
    return UnauthorizedClient(said, reason="not_delegated")


def _tasks_of(registry: Registry, agent: str) -> tuple[str, ...]:
    record = registry.content.agents.get(agent)
    return record.tasks if record is not None else ()
