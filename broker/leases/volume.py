"""How many leases there may be: in a minute, at once and in all, of an agent, of its tasks of a type, and of a task."""

from collections.abc import Iterable
from typing import NamedTuple

from broker.store import key


class Volume(NamedTuple):
    """The bounds of one of these, 0 for none, and where it is counted in its shard.

    `live` is the key of its live leases by expiry; `is_kept` tells that they are there for this bound alone. `names` are those
    of the three bounds, as a refusal says them.
    """

    live: str
    rate: str
    totals: str
    field: str
    names: tuple[str, str, str]
    per_minute: int = 0
    live_leases: int = 0
    leases: int = 0
    is_kept: bool = True

    @property
    def keys(self) -> tuple[str, str, str]:
        """The keys that `issue.lua` takes."""
        return self.live, self.rate, self.totals

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """The arguments that `issue.lua` takes."""
        return self.per_minute, self.live_leases, self.leases, self.field, int(self.is_kept), *self.names


def of_agent(shard: int, name: str, epoch: str) -> Volume:
    """Return where the leases of an agent are counted; its live ones are there for other reasons as well."""
    names = ("leases_per_minute", "live_leases", "leases_per_agent")
    live, rate = key(shard, "agent", name, epoch), key(shard, "rate", name)
    return Volume(live, rate, key(shard, "totals"), f"agent {name}", names, is_kept=False)


def of_task_type(shard: int, agent: str, type: str, epoch: str) -> Volume:
    """Return where the leases of all tasks of a type of an agent are counted."""
    names = ("leases_per_minute_of_task_type", "live_leases_of_task_type", "leases_per_task_type")
    live, rate = key(shard, "type", agent, type, "live", epoch), key(shard, "type", agent, type, "rate")
    return Volume(live, rate, key(shard, "totals"), f"type {agent} {type}", names)


def of_task(shard: int, id: str, epoch: str) -> Volume:
    """Return where the leases of a task, and of what is below it, are counted."""
    names = ("leases_per_minute_of_task", "live_leases_of_task", "leases_per_task")
    task = key(shard, "task", id)
    return Volume(f"{task}:live:{epoch}", f"{task}:rate", task, "leases", names)


def flattened(volumes: Iterable[Volume]) -> tuple[list[str], list[str | int]]:
    """Return the keys and the arguments of all of them, one after the other."""
    known = list(volumes)
    return [part for volume in known for part in volume.keys], [part for volume in known for part in volume.arguments]
