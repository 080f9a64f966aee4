"""Very many leases that fall due within one minute: does the sweeper keep up? Run: python -m tests.benchmarks.due --help.

They are written with expiries spread over one minute, then the clock of the scripts is moved to its beginning; likewise to the
minute in which they are forgotten. Worker and callers are one process, the store is a redis-server on loopback.
"""

import argparse
import asyncio
import itertools
import time
from collections.abc import Iterator

from broker.leases.leases import KEPT_AFTER_END
from broker.store import key
from broker.store.shards import SHARDS
from tests.benchmarks.figures import machine
from tests.benchmarks.filled import PER_TASK, Filled, Load, filled

_MINUTE = 60_000
_AHEAD = 3_000_000
"""How long the first of them live, in milliseconds: longer than it takes to write them all."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=1_000_000, help="how many leases fall due")
    parser.add_argument("--agents", type=int, default=1_000, help="how many agents hold them")
    parser.add_argument("--per-task", type=int, default=PER_TASK, help="how many leases a task has")
    parser.add_argument("--seconds", type=float, default=10, help="how long issuing is measured when all is quiet")
    asyncio.run(measure(parser.parse_args()))


async def measure(asked: argparse.Namespace) -> None:
    print(machine())
    async with filled(asked.agents) as store:
        began = store.world.clock.now().wall
        await store.fill_all(asked.leases, per_task=asked.per_task, expiries=_spread(store, began + _AHEAD))
        await store.load(2)
        store.broker.scheduler.start()
        quiet = await store.load(asked.seconds)
        print(f"issuing when quiet  {quiet.shown()}")
        for what, after in (("due", 0), ("ended", KEPT_AFTER_END)):
            store.world.clock.advance(began + _AHEAD + after - 1_000 - store.world.clock.now().wall)
            busy, lag, left = await while_sweeping(store, what, after)
            name = "while they expire  " if what == "due" else "while forgotten    "
            print(f"{name} {busy.shown()}   p99 / quiet: {busy.p99 / quiet.p99:.2f}")
            print(f"  sweeper           at most {lag:.1f} s late; {left:,} left at the end")
        again = await store.load(asked.seconds)
        print(f"quiet again         {again.shown()}")
        store.broker.scheduler.close()
    print(machine())


def _spread(store: Filled, first: int) -> Iterator[int]:
    """Give each lease the life with which it ends within the minute that begins at `first`."""
    return (first + step - store.world.clock.now().wall for step in itertools.cycle(range(0, _MINUTE, 7)))


async def while_sweeping(store: Filled, index: str, after: int) -> tuple[Load, float, int]:
    """Ask for tokens for the minute and the ten seconds after it; return that, the greatest lateness, and what is left over."""
    end, loads, late = time.perf_counter() + 70, [], [0.0]
    while time.perf_counter() < end:
        loads.append(await store.load(2))
        late.append(lateness(store, index, after))
    now = store.world.clock.now().wall - after
    left = sum(int(store.world.backend.client.zcount(key(shard, index), "-inf", now - 1_000)) for shard in range(SHARDS))
    return Load.of(loads), max(late), left


def lateness(store: Filled, index: str, after: int) -> float:
    """Return how many seconds ago the longest overdue lease should have gone."""
    firsts = [store.world.backend.client.zrange(key(shard, index), 0, 0, withscores=True) for shard in range(SHARDS)]
    scores = [score for first in firsts for _, score in first]
    return max((store.world.clock.now().wall - after - score) / 1e3 for score in scores) if scores else 0.0


if __name__ == "__main__":
    main()
