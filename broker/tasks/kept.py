"""How a task stands in the store, and how one is made that is to stand there."""

from typing import Any

import msgspec

from broker.registry.registry import Agent
from broker.tasks.behalf import Behalf
from broker.tasks.records import OPEN, Declaration, Task

KEPT = tuple(name for name in Task.__struct_fields__ if name != "id")
"""The fields that are read of it, in order."""

_TEXTS = ("agent", "workload", "subject", "type", "purpose", "user")
_JSON = ("types", "path", "envelope", "groups", "delegation")


def new(agent: Agent, workload: str, declaration: Declaration, *, parent: Task | None, behalf: Behalf) -> Task:
    """Make a task that has no id yet and no times, inside its parent where there is one, which says for whom it is then."""
    own = (declaration.resources,) if declaration.resources is not None else ()
    user, groups = (parent.user, parent.groups) if parent else (behalf.user, behalf.groups)
    delegated = behalf.above.delegation if behalf.above else None
    return Task(
        id="",
        agent=agent.name,
        workload=workload,
        subject=parent.subject if parent else user or workload,
        type=declaration.type,
        types=(*(parent.types if parent else ()), declaration.type),
        purpose=declaration.purpose,
        status=OPEN,
        created=0,
        ends=0,
        path=parent.path if parent else (),
        envelope=(*(parent.envelope if parent else ()), *own),
        user=user,
        groups=groups,
        delegation=delegated or (parent.delegation if parent else None),
    )


def fields_of(task: Task) -> list[str | bytes]:
    """Write fields and values, but for those that the store gives it."""
    texts = {name: getattr(task, name) for name in _TEXTS}
    encoded = {name: msgspec.json.encode(getattr(task, name)) for name in _JSON}
    return [part for pair in {**texts, **encoded}.items() for part in pair]


def parsed(id: str, values: list[bytes | None]) -> Task:
    """Read the values of `KEPT`."""
    texts: dict[str, Any] = {name: (value or b"").decode() for name, value in zip(KEPT, values, strict=True)}
    decoded = {name: msgspec.json.decode(texts[name]) for name in _JSON}
    return msgspec.convert({"id": id, **texts, **decoded}, Task, strict=False)
