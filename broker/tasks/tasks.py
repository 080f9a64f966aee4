"""Declared tasks on Redis: opened inside their type's ceiling, ended together with all below them."""

import contextlib
from typing import Any

import msgspec

from broker.audit import Audit, Record
from broker.errors import AccessDenied, InvalidGrant, InvalidRequest, NotFound
from broker.registry.registry import Agent, Registry
from broker.store import Store, key, repeatable_id, shard_of, shard_of_id, sharded_id
from broker.store.watch import Watch
from broker.tasks.records import OPEN, TASK, Declaration, Task
from broker.toml_file import nearest
from scopes.claims import MAX_PATH
from scopes.clock import Clock

KEPT_AFTER_END = 7_200_000
"""The milliseconds for which a closed task is kept: longer than any of its leases, whose records need it."""

UNFINISHED_AFTER = 5_000
"""The milliseconds after which the scheduler finishes an ending whose caller died."""

MAX_REMEMBERED = 10_000
"""How many open tasks a worker remembers."""

_BATCH = 100
_LISTS = ("types", "path", "envelope", "groups")
_KEPT = tuple(name for name in Task.__struct_fields__ if name != "id")


class Tasks:
    """All tasks of one store."""

    def __init__(self, store: Store, *, audit: Audit, clock: Clock, watch: Watch) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._watch = watch
        self._known: dict[str, Task] = {}
        self._open = store.script("broker.tasks", "open")
        names = ("ending", "close", "due", "forget")
        self._ending, self._close, self._due, self._forget = (
            store.script("broker.tasks", name, even_when_full=True) for name in names
        )

    async def open(
        self, agent: Agent, workload: str, declaration: Declaration, registry: Registry, *, seed: bytes | None = None
    ) -> Task:
        """Open a task of one of the agent's types, inside its parent if it names one; with a seed, the one opened before.

        Raises `InvalidRequest`, `AccessDenied` for a type the agent may not run, `InvalidGrant` for a parent that is not
        open or not the agent's, `Unavailable`.
        """
        self._watch.check()
        declaration.check()
        longest = _longest(agent, declaration, registry)
        parent = await self.find_own(agent, declaration.parent) if declaration.parent is not None else None
        if parent is not None and len(parent.path) >= MAX_PATH:
            raise InvalidGrant(f"tasks nest at most {MAX_PATH} deep")
        task = _new(agent, workload, declaration, parent)
        shard, now = shard_of(agent.name), self._clock.now().wall
        id = sharded_id(TASK, shard=shard, now=now) if seed is None else repeatable_id(TASK, shard=shard, seed=seed)
        task = msgspec.structs.replace(task, id=id, path=(*task.path, id))
        times = await self._write(task, longest, parent)
        if times is None:
            raise InvalidGrant("the parent task is not open any more")
        created, ends = times
        return msgspec.structs.replace(task, created=created, ends=ends)

    async def join_default(self, agent: Agent, workload: str, registry: Registry) -> Task:
        """Return the open task of the agent's default type for this workload, opening one where there is none."""
        if agent.record.default_task is None:
            raise InvalidRequest("name a task or declare one; this agent has no default_task")
        place = key(shard_of(agent.name), "default", agent.name, workload)
        known = await self._store.call("GET", place)
        if known is not None:
            with contextlib.suppress(InvalidGrant):
                return await self.find_own(agent, known.decode())
        task = await self.open(agent, workload, Declaration(type=agent.record.default_task), registry)
        # A token lives a second at least, so in its last second the task could only refuse: another is opened then.
        await self._store.call("SET", place, task.id, "PXAT", task.ends - 1_000)
        return task

    async def find(self, id: str) -> Task:
        """Return a task; raise `NotFound`."""
        shard = shard_of_id(id, TASK)
        values = await self._store.call("HMGET", key(shard, "task", id), *_KEPT) if shard is not None else [None]
        if values[0] is None:
            raise NotFound(f"there is no task {id!a}")
        task = _parsed(id, values)
        self._remember(task)
        return task

    async def find_own(self, agent: Agent, id: str) -> Task:
        """Return an open task of the agent; raise `InvalidGrant` for any other, without saying whether it exists.

        What never changes of a task is remembered, so it may have ended since: the script that issues a lease, or opens a
        child, looks again.
        """
        try:
            task = self._known.get(id) or await self.find(id)
        except NotFound:
            raise InvalidGrant(_NOT_YOURS) from None
        if task.agent != agent.name or not task.is_open:
            raise InvalidGrant(_NOT_YOURS)
        return task

    async def page(self, shard: int, ranks: tuple[int, int]) -> list[Task]:
        """Return open tasks of a shard by rank, those that end first first."""
        ids = await self._store.call("ZRANGE", key(shard, "tasks"), *ranks)
        return [await self.find(id.decode()) for id in ids]

    async def begin_end(self, id: str, outcome: str) -> list[str]:
        """Mark a task and all below it as ending, so that no lease is issued for them from here on; raise `NotFound`.

        Returns the ids of their leases that have not expired, however they may have ended otherwise.
        """
        self._known.pop(id, None)
        shard = shard_of_id(id, TASK)
        reply = None
        if shard is not None:
            keys = [key(shard, "task", id), key(shard, "tasks")]
            reply = await self._store.run(self._ending, keys, [key(shard, ""), id, outcome, UNFINISHED_AFTER])
        if reply is None:
            raise NotFound(f"there is no task {id!a}")
        return [lease.decode() for lease in reply]

    async def count_live(self, id: str) -> int:
        """Return how many of a task's own leases have neither expired nor been marked as ended; none for an unknown task."""
        shard = shard_of_id(id, TASK)
        if shard is None:
            return 0
        return int(await self._store.call("ZCOUNT", key(shard, "task", id, "leases"), f"({self._clock.now().wall}", "+inf"))

    async def unclosed_tree(self, id: str) -> list[str]:
        """Return a task and all below it, or nothing where it is unknown or closed: then its leases were marked before."""
        shard = shard_of_id(id, TASK)
        if shard is None or await self._store.call("HGET", key(shard, "task", id), "status") not in (b"open", b"ending"):
            return []
        tree = [id]
        for parent in tree:
            tree += [child.decode() for child in await self._store.call("SMEMBERS", key(shard, "task", parent, "children"))]
        return tree

    async def close(self, id: str, record: Record) -> None:
        """Close a task that is ending, and all below it, with its audit record; to repeat it changes nothing."""
        shard = shard_of_id(id, TASK)
        assert shard is not None
        keys = [key(shard, part) for part in ("tasks", "closed", "audit")]
        await self._store.run(self._close, keys, [key(shard, ""), id, self._audit.encode(record)])

    async def due(self, shard: int) -> list[str]:
        """Name tasks of a shard whose time is over or whose ending was left unfinished, at most a hundred."""
        return [id.decode() for id in await self._store.run(self._due, [key(shard, "tasks")], [_BATCH])]

    async def forget(self, shard: int) -> None:
        """Forget tasks of a shard that were closed long ago, at most a hundred."""
        await self._store.run(self._forget, [key(shard, "closed")], [key(shard, ""), KEPT_AFTER_END, _BATCH])

    def _remember(self, task: Task) -> None:
        self._known.pop(task.id, None)
        if task.is_open:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[task.id] = task

    async def _write(self, task: Task, longest: int, parent: Task | None) -> tuple[int, int] | None:
        shard = shard_of(task.agent)
        keys = [key(shard, "task", task.id), key(shard, "tasks"), key(shard, "audit")]
        if parent is not None:
            keys += [key(shard, "task", parent.id), key(shard, "task", parent.id, "children")]
        record = Record(
            kind="task.opened",
            agent=task.agent,
            workload=task.workload,
            task=task.id,
            reason=task.type,
            said=task.purpose or None,
        )
        times: tuple[int, int] | None = await self._store.run(
            self._open, keys, [task.id, longest * 1000, self._audit.encode(record), *_fields(task)]
        )
        return times


_NOT_YOURS = "there is no open task of this id that is yours; declare one"


def _longest(agent: Agent, declaration: Declaration, registry: Registry) -> int:
    task_type = registry.task_type(declaration.type)
    if task_type is None or declaration.type not in agent.record.tasks:
        hint = nearest(declaration.type, agent.record.tasks)
        raise AccessDenied(f"{agent.name} may not run {declaration.type!a} tasks{hint}", reason="outside_task_types")
    return min(declaration.max_duration or task_type.max_duration, task_type.max_duration)


def _new(agent: Agent, workload: str, declaration: Declaration, parent: Task | None) -> Task:
    own = (declaration.resources,) if declaration.resources is not None else ()
    return Task(
        id="",
        agent=agent.name,
        workload=workload,
        subject=parent.subject if parent else workload,
        type=declaration.type,
        types=(*(parent.types if parent else ()), declaration.type),
        purpose=declaration.purpose,
        status=OPEN,
        created=0,
        ends=0,
        path=parent.path if parent else (),
        envelope=(*(parent.envelope if parent else ()), *own),
        user=parent.user if parent else "",
        groups=parent.groups if parent else (),
    )


def _fields(task: Task) -> list[str | bytes]:
    texts = {name: getattr(task, name) for name in ("agent", "workload", "subject", "type", "purpose", "user")}
    lists = {name: msgspec.json.encode(getattr(task, name)) for name in _LISTS}
    return [part for pair in {**texts, **lists}.items() for part in pair]


def _parsed(id: str, values: list[bytes | None]) -> Task:
    texts: dict[str, Any] = {name: (value or b"").decode() for name, value in zip(_KEPT, values, strict=True)}
    lists = {name: msgspec.json.decode(texts[name]) for name in _LISTS}
    return msgspec.convert({"id": id, **texts, **lists}, Task, strict=False)
