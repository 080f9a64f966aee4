"""A million live leases, and one revocation of an agent that holds many. Run: python -m tests.benchmarks.million --help.

Worker, callers and verifier are one process, the store is a redis-server on loopback: what they take from each other is in the
figures.
"""

import argparse
import asyncio
import itertools
import time

import redis

from broker.store import Script
from scopes import revocations
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture, Revocable
from tests.benchmarks.figures import machine
from tests.benchmarks.filled import BIG, PER_TASK, Filled, Load, filled, until
from tests.broker.world import CLOCK, CRM, ISSUER

_LIFE = 3_600_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=1_000_000, help="how many leases live")
    parser.add_argument("--big", type=int, default=100_000, help="how many of them one agent holds")
    parser.add_argument("--agents", type=int, default=1_000, help="how many agents hold the others")
    parser.add_argument("--per-task", type=int, default=PER_TASK, help="how many leases a task has")
    parser.add_argument("--seconds", type=float, default=10, help="how long issuing is measured before and after")
    asyncio.run(measure(parser.parse_args()))


async def measure(asked: argparse.Namespace) -> None:
    print(machine())
    async with filled(asked.agents) as store:
        # One of each kind of key first, so that what is counted is leases and their tasks.
        await store.fill(BIG, 1, per_task=1, expiries=itertools.repeat(_LIFE))
        empty, start = store.memory(), time.perf_counter()
        lives = itertools.repeat(_LIFE)
        await store.fill(BIG, asked.big, per_task=1_000, expiries=lives)
        await store.fill_all(asked.leases - asked.big, per_task=asked.per_task, expiries=lives)
        taken = time.perf_counter() - start
        print(f"written           {asked.leases:,} leases in {taken:.0f} s, {asked.per_task} a task, the big agent's 1,000")
        print(f"memory            {(store.memory() - empty) / asked.leases:.0f} bytes a lease, with its share of its task")
        # So that every script is loaded before it is measured.
        await store.world.revoke(agent="other-bot")
        await store.load(2)
        store.broker.scheduler.start()
        before = await store.load(asked.seconds)
        await revoke(store)
        during, took = await while_settling(store)
        after = await store.load(asked.seconds)
        store.broker.scheduler.close()
        print(f"issuing before    {before.shown()}")
        print(f"  during clean-up {during.shown()}   (clean-up of {asked.big:,} leases: {took:.0f} s)")
        print(f"  after           {after.shown()}")
        print(f"  p99 during / before: {during.p99 / before.p99:.2f}, during / after: {during.p99 / after.p99:.2f}")
    print(machine())


async def revoke(store: Filled) -> None:
    """Revoke the big agent: what it takes the store, the caller, and the first verifier."""
    verifier = Verifier(store)
    for name, value in (("slowlog-log-slower-than", 0), ("slowlog-max-len", 10_000)):
        store.server.call("CONFIG", "SET", name, value)
    start = time.perf_counter()
    await store.world.revoke(agent=BIG)
    called = time.perf_counter()
    await until(verifier.refuses, every=0.0005)
    refused = time.perf_counter()
    commits = commits_logged(store)
    print(f"revocation        {(called - start) * 1e3:.1f} ms for the caller")
    print(f"  at the store    {max(commits):.2f} ms in {len(commits)} write")
    print(f"  first refusal   {(refused - start) * 1e3:.1f} ms after the call began")


def commits_logged(store: Filled) -> list[float]:
    """Return how long the server was at each commit to the feed's log, in milliseconds, and log no more."""
    with redis.Redis.from_url(store.server.url) as client:
        client.config_set("slowlog-log-slower-than", 10_000_000)
        logged = client.slowlog_get(10_000)
    script = Script("broker.feed", "append", clock=CLOCK, even_when_full=True).sha
    return [entry["duration"] / 1e3 for entry in logged if script.encode() in entry["command"]]


async def while_settling(store: Filled) -> tuple[Load, float]:
    """Go on asking for tokens until the clean-up is done."""
    start, done = time.perf_counter(), asyncio.Event()

    async def watch() -> float:
        await until(lambda: not store.live(BIG), every=0.2)
        done.set()
        return time.perf_counter() - start

    watching = asyncio.create_task(watch())
    loads = [await store.load(2)]
    while not done.is_set():
        loads.append(await store.load(2))
    return Load.of(loads), await watching


class Verifier:
    """A verifier's picture at the end of a stream of the worker."""

    def __init__(self, store: Filled) -> None:
        self._store = store
        self._keys = KeySet.parse(store.broker.keys.feed_jwks, algorithms=TOKEN_ALGORITHMS)
        self._frames: list[bytes] = []
        picture = store.broker.streams.picture
        self._token = Revocable(picture.epoch, picture.seq, "read", approved=False, targets=("all", f"agent {BIG}"))
        named = {"keys": self._keys, "issuer": ISSUER, "audience": CRM}
        first = revocations.read_snapshot(_data(store.broker.streams.join(CRM, self._frames.append)), **named)
        self._picture = Picture().adopt(first, store.world.clock.now())

    def refuses(self) -> bool:
        """Tell whether what has come by now ends the token."""
        while self._frames:
            named = {"keys": self._keys, "issuer": ISSUER, "audience": CRM}
            message = revocations.read_message(_data(self._frames.pop(0)), **named)
            self._picture = self._picture.apply(message, self._store.world.clock.now())
        return self._picture.ended_by(self._token) is not None


def _data(frame: bytes) -> str:
    return frame.decode().split("\n")[1].removeprefix("data: ")


if __name__ == "__main__":
    main()
