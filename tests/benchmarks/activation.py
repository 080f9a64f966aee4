"""How long until every worker has swapped, and what a reload costs. Run: python -m tests.benchmarks.activation --help.

The workers are in one process, each with the threads and the folder of its own, on a redis-server on loopback. They share one
interpreter here, so where content has to be built the figures are an upper bound.
"""

import argparse
import asyncio
import shutil
import tempfile
import threading
import time
from pathlib import Path

from broker.active import sources
from broker.active.own_files import Folders
from broker.active.rules import Rules
from broker.active.sources import Sources
from tests.benchmarks.figures import machine, spread
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, REGISTRY, World, neighbour_of, redis_backend

_AGENT = """
[agents.bot-{0}]
owner       = "owner-{0}@example.com"
purpose     = "Look at tickets of queue {0}"
environment = "prod"
workloads   = [{{ spiffe = "spiffe://development.test/agent/bot-{0}" }}]
tasks       = ["summarise-ticket"]
ends        = 2099-06-30
"""
_POLICY = """
@id("queue-{0}")
permit (principal == Agent::"bot-{0}", action == Action::"crm:ticket#draft", resource is Record)
when {{ context.ttl <= 60 && principal.environment == resource.environment }};
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1_000, help="how many agents the registry has")
    parser.add_argument("--policies", type=int, default=100, help="how many policies there are")
    parser.add_argument("--workers", type=int, default=4, help="how many workers swap")
    parser.add_argument("--rounds", type=int, default=10, help="how often to activate")
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), asked))
    print(machine())


async def measure(folder: Path, asked: argparse.Namespace) -> None:
    server = RedisServer(folder / "redis")
    try:
        workers = started(folder, server.url, asked)
        print(f"{asked.agents} agents, {asked.policies} policies, {len(workers)} workers")
        read_and_validate(workers[0].folder, asked.rounds)
        await activate_often(workers, asked.rounds)
        for worker in workers:
            worker.broker.follower.close()
            worker.broker.adoption.close()
            await worker.backend.stores.shared.close()
    finally:
        server.end()


def started(folder: Path, url: str, asked: argparse.Namespace) -> list[World]:
    backend = redis_backend(url)
    registry = REGISTRY + "".join(_AGENT.format(number) for number in range(asked.agents))
    first = World(folder / "0", backend, registry=registry)
    (folder / "0" / "policies" / "queues.cedar").write_text("".join(_POLICY.format(n) for n in range(asked.policies)))
    workers = []
    for number in range(asked.workers):
        if number:
            shutil.copytree(folder / "0", folder / str(number))
        workers.append(World(folder / str(number), neighbour_of(backend), registry=registry, clock=first.clock))
        workers[-1].follow()
        workers[-1].broker.adoption.start()
        workers[-1].broker.follower.start()
    return workers


def read_and_validate(folder: Path, rounds: int) -> None:
    """Do what a worker does whose files changed, and what one does that only hears of it."""
    folders, reading, building = Folders(folder / "registry", folder / "policies"), [], []
    for _ in range(rounds):
        start = time.perf_counter()
        content = folders.read(lambda _: [])
        reading.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
        sources.restored(content.registry.canonical, content.policies.texts, lambda _: [])
        building.append((time.perf_counter() - start) * 1e3)
    print(f"read and validate the files  {spread(reading, 0)} ms")
    print(f"validate what was signed     {spread(building, 0)} ms   ({len(content.registry.canonical) / 1e3:.0f} kB)")


async def activate_often(workers: list[World], rounds: int) -> None:
    swaps = [Swaps(worker) for worker in workers]
    answers, last, pauses = [], [], []
    for number in range(rounds):
        changed = {**texts(workers[0].folder, "policies", "*.cedar"), "round.cedar": _POLICY.format(f"none-{number}")}
        files = Sources(texts(workers[0].folder, "registry", "*.toml"), changed)
        start = time.perf_counter()
        await workers[0].broker.activation.activate(files, "a benchmark", ADMIN, is_tried=False)
        answered = time.perf_counter()
        await asyncio.gather(*(asyncio.to_thread(each.wait) for each in swaps))
        answers.append((answered - start) * 1e3)
        last.append((max(each.at for each in swaps) - answered) * 1e3)
        pauses.append(max(worker.broker.follower.age() for worker in workers))
    print(f"from request to answer       {spread(answers, 0)} ms")
    print(f"from answer to the last swap {spread(last, 0)} ms")
    print(f"oldest picture at the swap   {spread(pauses, 0)} ms   (above 1000 a worker issues nothing)")


class Swaps:
    """Notes when a worker swaps."""

    def __init__(self, worker: World) -> None:
        self._replace = worker.broker.active.replace
        self._swapped = threading.Event()
        self.at = 0.0
        worker.broker.active.replace = self._noted  # type: ignore[method-assign]

    def _noted(self, rules: Rules) -> None:
        self._replace(rules)
        self.at = time.perf_counter()
        self._swapped.set()

    def wait(self) -> None:
        assert self._swapped.wait(60)
        self._swapped.clear()


def texts(folder: Path, name: str, pattern: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / name).glob(pattern)}


if __name__ == "__main__":
    main()
