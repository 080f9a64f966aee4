"""What a tree of tasks was given to read, for that it cannot unread: what outsiders wrote, and classes of data.

It belongs to the whole tree, for what one task has read the others may be told. It is written to the root's record, where it
outlives the epoch, and committed as events, which is how every worker and every verifier knows it in the order of the log: a
token that was decided before such an event, and would not have been given after it, is hit by it (`DESIGN.md` 3.18).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from broker.audit import Audit, Record
from broker.errors import InvalidGrant
from broker.feed.event import GRACE, NewEvent
from broker.feed.log import Log
from broker.store import Store, key
from broker.tasks.records import Task, task_shard
from scopes import ulid
from scopes.revocations import Picture

MAX_REMEMBERED = 10_000
"""Of how many trees a worker remembers what their roots' records say."""

_TAINTED = "tainted"
_LABEL = "label:"


class Exposure(NamedTuple):
    """What a tree was given to read: whether outsiders can have written any of it, and which classes of data were in it."""

    tainted: bool = False
    labels: frozenset[str] = frozenset()

    def __or__(self, other: object) -> "Exposure":
        """Return what was read in both."""
        assert isinstance(other, Exposure)
        return Exposure(self.tainted or other.tainted, self.labels | other.labels)

    def beyond(self, known: "Exposure") -> "Exposure":
        """Return what of this is not in the other."""
        return Exposure(self.tainted and not known.tainted, self.labels - known.labels)


class Told(NamedTuple):
    """Whose verifiers hear of it, `None` for all, as the configuration of this id has it.

    Where another is in force, other verifiers may have to hear of it, so nothing is committed.
    """

    audiences: tuple[str, ...] | None
    configuration: str


class _Root(NamedTuple):
    """What a root's record said in one epoch: what came since is in the picture of that epoch. `ends` is milliseconds."""

    exposure: Exposure
    ends: int


class Exposures:
    """Reads and writes what trees of tasks were exposed to."""

    def __init__(self, store: Store, *, log: Log, audit: Audit) -> None:
        self._store = store
        self._log = log
        self._audit = audit
        self._expose, self._read_exposure = (store.script("broker.tasks", name) for name in ("expose", "exposure"))
        self._known: dict[tuple[str, str, frozenset[str]], _Root] = {}

    async def of(self, task: Task, picture: Picture, classes: frozenset[str]) -> Exposure:
        """Return what the task's tree was exposed to, as far as the picture tells; raise `InvalidGrant`, `Unavailable`.

        `classes` are those that the registry speaks of. Of others that it spoke of once, the root's record tells.
        """
        root = await self._root(task.path[0], picture.epoch, classes)
        return root.exposure | _in(picture, task.path[0], classes)

    async def expose(self, task: Task, gained: Exposure, picture: Picture, *, scope: str, tell: Callable[[], Told]) -> None:
        """Commit what the tree is about to be given to read, unless the picture has it; raise `Unavailable` if not certain.

        `tell` says who hears of it, and is asked only where there is something new.

        The record first: whoever reads it in a later epoch knows of it, also where the events could not be committed.
        """
        root = task.path[0]
        new = gained.beyond(_in(picture, root, gained.labels))
        if new == Exposure():
            return
        told = tell()
        names = [_TAINTED] * new.tainted + [f"{_LABEL}{label}" for label in sorted(new.labels)]
        shard = task_shard(root)
        record = Record(
            kind="task.exposed",
            agent=task.agent,
            workload=task.workload,
            task=root,
            scope=scope,
            reason=", ".join(name.removeprefix(_LABEL) for name in names),
            epoch=picture.epoch,
        )
        await self._store.run(
            self._expose, [key(shard, "task", root), key(shard, "audit")], [self._audit.encode(record), *names]
        )
        ends = (await self._read(root)).ends
        events = [*_events(root, new, picture.epoch, until=ends + GRACE, audiences=told.audiences)]
        await self._log.append(picture.epoch, events, configuration=told.configuration)

    async def _root(self, root: str, epoch: str, classes: frozenset[str]) -> _Root:
        place = root, epoch, classes
        known = self._known.get(place)
        if known is not None:
            return known
        if len(self._known) >= MAX_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        return self._known.setdefault(place, await self._read(root))

    async def _read(self, root: str) -> _Root:
        reply = await self._store.run(self._read_exposure, [key(task_shard(root), "task", root)], [])
        if reply is None:
            raise InvalidGrant("the root of this task's tree is not there any more; declare another")
        ends, *names = reply[0], *(name.decode() for name in reply[1:])
        labels = frozenset(name.removeprefix(_LABEL) for name in names if name.startswith(_LABEL))
        return _Root(Exposure(_TAINTED in names, labels), ends)


def _in(picture: Picture, root: str, classes: Iterable[str]) -> Exposure:
    labels = frozenset(label for label in classes if picture.has(f"taint {root} {label}"))
    return Exposure(picture.has(f"taint {root}"), labels)


def _events(root: str, new: Exposure, epoch: str, *, until: int, audiences: tuple[str, ...] | None) -> Iterable[NewEvent]:
    values = [root] * new.tainted + [f"{root} {label}" for label in sorted(new.labels)]
    for value in values:
        # The same id whoever commits it, so that it is there once.
        id = f"evt_{ulid.derived(f'{epoch} taint {value}'.encode())}"
        yield NewEvent(id=id, kind="taint", until=until, value=value, audiences=audiences)
