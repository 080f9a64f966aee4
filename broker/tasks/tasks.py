"""Declared tasks on Redis: opened inside their type's ceiling, ended together with all below them."""

import asyncio
import contextlib
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from broker.audit import Audit, Record
from broker.errors import AccessDenied, InvalidGrant, InvalidRequest, NotFound, Unavailable
from broker.registry.registry import Agent, Registry
from broker.store import Store, digits, key, repeatable_id, shard_of, shard_of_id, sharded_id
from broker.store.watch import Watch
from broker.tasks import kept
from broker.tasks.behalf import NOBODY, Above, Behalf
from broker.tasks.records import TASK, Declaration, Task, task_shard
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
_PLAIN = "/:@!$&'()*+,;="


class Ending(NamedTuple):
    """What begins to end: the leases of a task and of all below it that have not expired, however else they may have ended.

    `parts` are the tasks at which the tree begins in each shard, the first one above all others. `missed` is why a shard could
    not be asked, where one could not: then there may be more.
    """

    leases: list[str]
    parts: list[str]
    missed: Unavailable | None = None


class Tasks:
    """All tasks of one store."""

    def __init__(self, store: Store, *, audit: Audit, clock: Clock, watch: Watch) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._watch = watch
        self._known: dict[str, Task] = {}
        self._open, self._enlist = (store.script("broker.tasks", name) for name in ("open", "enlist"))
        names = ("ending", "close", "due", "forget")
        self._ending, self._close, self._due, self._forget = (
            store.script("broker.tasks", name, even_when_full=True) for name in names
        )

    async def open(
        self,
        agent: Agent,
        workload: str,
        declaration: Declaration,
        registry: Registry,
        *,
        behalf: Behalf = NOBODY,
        place: str = "",
        seed: bytes | None = None,
    ) -> Task:
        """Open a task of one of the agent's types, inside its parent if it has one; with a seed, the one opened before.

        `place` is where the store keeps which task is to be joined, if it is one to join. Raises `InvalidRequest`,
        `AccessDenied` for a type the agent may not run, `InvalidGrant` for a parent that is not open, not the agent's or for
        another user, and `Unavailable`.
        """
        self._watch.check()
        declaration.check()
        longest = _longest(agent, declaration, registry)
        parent = await self._parent(agent, declaration, behalf)
        if parent is not None and len(parent.path) >= MAX_PATH:
            raise InvalidGrant(f"tasks nest at most {MAX_PATH} deep")
        task = kept.new(agent, workload, declaration, parent=parent, behalf=behalf)
        shard, now = shard_of(agent.name), self._clock.now().wall
        id = sharded_id(TASK, shard=shard, now=now) if seed is None else repeatable_id(TASK, shard=shard, seed=seed)
        task = msgspec.structs.replace(task, id=id, path=(*task.path, id))
        times = await self._written(task, longest * 1000, behalf.above, place)
        if times is None:
            raise InvalidGrant("the parent task is not open any more")
        created, ends = times
        return msgspec.structs.replace(task, created=created, ends=ends)

    async def join_default(self, agent: Agent, workload: str, registry: Registry, *, behalf: Behalf = NOBODY) -> Task:
        """Return the open task of the agent's default type for this workload, opening one where there is none.

        Each user has their own, in each set of groups, and so has each lease by which it was delegated; and nobody has one.
        """
        if agent.record.default_task is None:
            raise InvalidRequest("name a task or declare one; this agent has no default_task")
        place = ":".join(("default", agent.name, _default_of(workload, behalf)))
        shard = shard_of(agent.name)
        known = await self._store.call("GET", key(shard, place))
        if known is not None:
            with contextlib.suppress(InvalidGrant):
                task = await self.find_own(agent, known.decode())
                if task.groups == behalf.groups:
                    return task
        declaration = Declaration(type=agent.record.default_task)
        task = await self.open(agent, workload, declaration, registry, behalf=behalf, place=place)
        # A token lives a second at least, so in its last second the task could only refuse: another is opened then.
        await self._store.call("SET", key(shard, place), task.id, "PXAT", task.ends - 1_000)
        return task

    async def find(self, id: str) -> Task:
        """Return a task; raise `NotFound`."""
        shard = shard_of_id(id, TASK)
        values = await self._store.call("HMGET", key(shard, "task", id), *kept.KEPT) if shard is not None else [None]
        if values[0] is None:
            raise NotFound(f"there is no task {id!a}")
        task = kept.parsed(id, values)
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

    async def begin_end(self, id: str, outcome: str) -> Ending:
        """Mark a task and all below it as ending, so that no lease is issued for them from here on; raise `NotFound`.

        Those in other shards are marked after what is above them, so whoever issues for one looks at all above it as well.
        Where a shard does not answer, the rest is marked all the same.
        """
        marked = await self._mark(id, outcome)
        if marked is None:
            raise NotFound(f"there is no task {id!a}")
        leases, elsewhere = ([part.decode() for part in parts] for parts in marked[:2])
        below = await asyncio.gather(*(self._begin_end_below(child, marked[2].decode()) for child in elsewhere))
        return Ending(
            leases=[*leases, *(lease for ending in below for lease in ending.leases)],
            parts=[id, *(part for ending in below for part in ending.parts)],
            missed=next((ending.missed for ending in below if ending.missed is not None), None),
        )

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
            tree += await self.children(parent)
        return tree

    async def delegated_by(self, lease: str, task: str) -> list[str]:
        """Return the tasks that were opened below this task by this lease of it."""
        children = await asyncio.gather(*map(self._find_if_there, await self.children(task)))
        return [child.id for child in children if child and child.delegation and child.delegation.lease == lease]

    async def children(self, id: str) -> list[str]:
        """Return the tasks right below a task, whatever shard they are in."""
        return [child.decode() for child in await self._store.call("SMEMBERS", key(task_shard(id), "task", id, "children"))]

    async def close(self, id: str, record: Record) -> None:
        """Close a task that is ending, and all below it in its shard, with its audit record; to repeat it changes nothing."""
        shard = task_shard(id)
        keys = [key(shard, part) for part in ("tasks", "closed", "audit")]
        await self._store.run(self._close, keys, [key(shard, ""), id, self._audit.encode(record), digits(shard)])

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

    async def _parent(self, agent: Agent, declaration: Declaration, behalf: Behalf) -> Task | None:
        if behalf.above is not None:
            if declaration.parent is not None:
                raise InvalidRequest("the subject token says below which task this one is; leave out parent")
            return behalf.above.task
        if declaration.parent is None:
            return None
        parent = await self.find_own(agent, declaration.parent)
        behalf.check(parent)
        return parent

    async def _written(self, task: Task, longest: int, above: Above | None, place: str) -> tuple[int, int] | None:
        """Write the task and return its times, or nothing where the task above it is not open any more.

        One of the same agent is in the same shard, and is looked at in the same step. Another is told first, so that its end
        finds this one; should it end in between, nothing is issued for what is then left here, and its time closes it.
        """
        shard = shard_of(task.agent)
        keys = [key(shard, "task", task.id), key(shard, "tasks"), key(shard, "audit")]
        latest: int | str = ""
        if above is not None:
            ends = await self._enlist_at(above.task.id, task.id)
            if ends is None:
                return None
            latest = min(ends, above.expires)
        elif len(task.path) > 1:
            keys += [key(shard, "task", task.path[-2]), key(shard, "task", task.path[-2], "children")]
        named: list[str | bytes] = ["default", place] if place else []
        arguments: list[str | bytes | int] = [
            task.id,
            longest,
            latest,
            self._audit.encode(_opened(task)),
            *kept.fields_of(task),
            *named,
        ]
        times: tuple[int, int] | None = await self._store.run(self._open, keys, arguments)
        return times

    async def _enlist_at(self, parent: str, child: str) -> int | None:
        shard = task_shard(parent)
        keys = [key(shard, "task", parent), key(shard, "task", parent, "children")]
        ends: int | None = await self._store.run(self._enlist, keys, [child])
        return ends

    async def _find_if_there(self, id: str) -> Task | None:
        with contextlib.suppress(NotFound):
            return await self.find(id)
        return None

    async def _mark(self, id: str, outcome: str) -> tuple[list[bytes], list[bytes], bytes] | None:
        self._known.pop(id, None)
        shard = shard_of_id(id, TASK)
        if shard is None:
            return None
        keys = [key(shard, "task", id), key(shard, "tasks")]
        arguments: list[str | int] = [key(shard, ""), id, outcome, UNFINISHED_AFTER, digits(shard)]
        marked: tuple[list[bytes], list[bytes], bytes] | None = await self._store.run(self._ending, keys, arguments)
        return marked

    async def _begin_end_below(self, id: str, outcome: str) -> Ending:
        try:
            return await self.begin_end(id, outcome)
        except NotFound:
            # It was to be opened and was not, or not yet: then whoever opens it gets nothing for it.
            return Ending([], [], None)
        except Unavailable as error:
            return Ending([], [], error)


_NOT_YOURS = "there is no open task of this id that is yours; declare one"


def _longest(agent: Agent, declaration: Declaration, registry: Registry) -> int:
    task_type = registry.task_type(declaration.type)
    if task_type is None or declaration.type not in agent.record.tasks:
        hint = nearest(declaration.type, agent.record.tasks)
        raise AccessDenied(f"{agent.name} may not run {declaration.type!a} tasks{hint}", reason="outside_task_types")
    return min(declaration.max_duration or task_type.max_duration, task_type.max_duration)


def _opened(task: Task) -> Record:
    return Record(
        kind="task.opened",
        agent=task.agent,
        workload=task.workload,
        user=task.user or None,
        task=task.id,
        lease=task.delegation.lease if task.delegation else None,
        reason=task.type,
        said=task.purpose or None,
    )


def _default_of(workload: str, behalf: Behalf) -> str:
    """Name the default task of a workload, and of one for whom it works, so that no two have one name.

    Names that platforms give can hold spaces; these are written otherwise, so that a space stands between the two and nowhere
    else.
    """
    return " ".join(quote(name, safe=_PLAIN) for name in (workload, behalf.mark) if name)
