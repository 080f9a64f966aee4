"""What very many events weigh: in the feed, and in a verifier. Run: python -m tests.benchmarks.feed_size --help.

The verifiers are processes of their own; each takes genuine, signed frames and says by how much it has grown.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import tempfile
import threading
import time
import tracemalloc
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec

from broker.feed.event import new_event
from broker.feed.streams import LiveEvent, Streams
from scopes import jose, revocations, ulid
from scopes.clock import Instant
from scopes.event_index import Event
from scopes.keys import TOKEN_ALGORITHMS, KeySet, VerificationKey
from scopes.revocations import Message, Picture, Place
from tests.benchmarks.figures import machine, spread
from tests.broker.redis_server import RedisServer
from tests.broker.world import CRM, ISSUER, World, redis_backend
from tests.scopes.tokens import new_key

MIB = 2**20
_LIFE = 300_000
_AT_ONCE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="how many single revocations are alive")
    parser.add_argument("--a-second", type=int, default=1_000, help="how many tasks end in a second, of all services")
    parser.add_argument("--services", type=int, default=50, help="among how many services they are spread")
    parser.add_argument("--minutes", type=int, default=20, help="for how long tasks end")
    asked = parser.parse_args()
    print(machine())
    asyncio.run(single_revocations(asked.events))
    of_one_service(asked)
    print(machine())


async def single_revocations(count: int) -> None:
    """Commit so many revocations of single leases, and let a verifier begin with their snapshot."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder) / "redis")
        try:
            world = World(Path(folder), redis_backend(server.url))
            world.follow()
            empty = used(server)
            await commit(world, count)
            print(f"{count:,} single revocations")
            print(f"  in Redis          {(used(server) - empty) / MIB:6.1f} MiB, the log's last 10,000 entries among it")
            streams, keys = world.broker.streams, world.broker.keys.feed_jwks
            start = time.perf_counter()
            text = streams.snapshot(CRM)
            taken = (time.perf_counter() - start) * 1e3
            print(f"  snapshot          {len(text) / MIB:6.1f} MiB, written and signed in {taken:.0f} ms")
            waits = [beat_while_joining(streams) for _ in range(5)]
            print(f"  a beat meanwhile  {spread(waits)} ms (least … median … most of {len(waits)})")
            tell(context, follow_snapshot, text, keys)
            await world.backend.close()
        finally:
            server.end()


async def commit(world: World, count: int) -> None:
    now = world.clock.now().wall
    for start in range(0, count, _AT_ONCE):
        events = [
            new_event("lease", f"lse_{ulid.new(now)}", now=now, expires=now + 12 * _LIFE, audiences=(CRM,))
            for _ in range(min(_AT_ONCE, count - start))
        ]
        await world.broker.log.append(world.broker.streams.picture.epoch, events)
        world.follow()


def beat_while_joining(streams: Streams) -> float:
    """Return the milliseconds that a beat takes while a newcomer's snapshot is made."""
    newcomer = threading.Thread(target=streams.join, args=(CRM, lambda _: None))
    newcomer.start()
    start = time.perf_counter()
    news: list[LiveEvent] = []
    streams.publish(streams.picture, news)
    taken = (time.perf_counter() - start) * 1e3
    newcomer.join()
    return taken


def follow_snapshot(pipe: Connection) -> None:
    """Be a verifier that begins with a snapshot."""
    text, jwks = pipe.recv()
    keys = KeySet.parse(jwks, algorithms=TOKEN_ALGORITHMS)
    picture, before = Picture(), resident()
    for measured in (False, True):
        gc.collect()
        if measured:
            tracemalloc.start()
        start = time.perf_counter()
        read = revocations.read_snapshot(text, keys=keys, issuer=ISSUER, audience=CRM)
        picture = Picture().adopt(read, Instant(read.as_of, 0))
        taken = (time.perf_counter() - start) * 1e3
        del read
        gc.collect()
        if not measured:
            grown = (resident() - before) / MIB
            pipe.send(f"  verifier process  {grown:6.1f} MiB more resident afterwards, taken in in {taken:.0f} ms")
    pipe.send(f"  its picture       {tracemalloc.get_traced_memory()[0] / MIB:6.1f} MiB of {len(picture.events()):,} events")
    pipe.send(None)


def of_one_service(asked: argparse.Namespace) -> None:
    """Let tasks end, and a verifier of one of the services follow."""
    each = asked.a_second / asked.services
    print(f"{asked.a_second:,} ends of tasks a second for {asked.services} services, for {asked.minutes} minutes")
    tell(multiprocessing.get_context("spawn"), follow_task_ends, each, asked.minutes)


def follow_task_ends(pipe: Connection) -> None:
    """Be a verifier of one service: every event is a message by itself, the clock is the feed's."""
    each, minutes = pipe.recv()
    key = new_key()
    keys = KeySet([VerificationKey(key.public_jwk, algorithms=TOKEN_ALGORITHMS)])
    now, head, picture = 1_795_318_537_000, Place(seq=0, id="evt_0"), Picture()
    first = revocations.Snapshot(iss=ISSUER, aud=CRM, epoch="01", seq=0, id="evt_0", as_of=now)
    picture = picture.adopt(first, Instant(now, 0))
    gc.collect()
    before, most, took = resident(), 0, []
    for number in range(int(each * 60 * minutes)):
        now += int(1_000 / each)
        id, value = f"evt_{ulid.new(now)}", f"tsk_{ulid.new(now)}"
        event = Event(seq=head.seq + 50, id=id, kind="task", until=now + _LIFE + 60_000, value=value)
        message = Message(iss=ISSUER, aud=CRM, epoch="01", seq=event.seq, id=event.id, prev=head, as_of=now, events=(event,))
        text = jose.write(msgspec.json.encode(message), type=revocations.MESSAGE_TYPE, key=key)
        start = time.perf_counter()
        picture = picture.apply(revocations.read_message(text, keys=keys, issuer=ISSUER, audience=CRM), Instant(now, 0))
        took.append((time.perf_counter() - start) * 1e6)
        head = Place(seq=event.seq, id=event.id)
        most = max(most, resident()) if number % 100 == 0 else most
    took.sort()
    held = len(picture.events())
    pipe.send(f"  verifier process  {(most - before) / MIB:6.1f} MiB more resident at most; {held:,} events held at the end")
    pipe.send(f"  each message      {took[len(took) // 2]:.0f} µs, worst {took[-1] / 1e3:.1f} ms, with its signature")
    pipe.send(None)


def tell(context: multiprocessing.context.SpawnContext, work: object, *given: object) -> None:
    """Run the work in a process of its own, and print what it says."""
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    ours.send(given)
    while (line := ours.recv()) is not None:
        print(line)
    process.join()


def used(server: RedisServer) -> int:
    info = server.call("INFO", "memory")
    assert isinstance(info, dict)
    return int(info["used_memory"])


def resident() -> int:
    """Return how many bytes this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
