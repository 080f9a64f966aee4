"""Looks at a live server as an operator would, and says what is fine, what is worth knowing and what has to be changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import redis

from broker.store import feed_key, preconditions
from broker.store.preconditions import Info
from scopes.clock import Clock

Rating = Literal["ok", "warning", "problem"]

LARGEST_SKEW = 1_000
"""The milliseconds by which clocks may differ: beyond, a worker is not ready."""

SLOW = 20
"""The milliseconds of a round trip from which every token is felt to wait for the store."""

_NEARLY_FULL = 0.75
_ROUND_TRIPS = 5
_FRESH_BEAT = 2_000


class Finding(NamedTuple):
    """One thing that was looked at. `advice` is what to do next, empty where there is nothing to do."""

    subject: str
    rating: Rating
    found: str
    advice: str = ""


def examine(client: redis.Redis, *, replicas_required: int, clock: Clock) -> list[Finding]:
    """Look at one master; raise the client's errors where it does not answer."""
    info: Info = client.info("server", "memory", "replication", "persistence")
    findings = [*_trust(info), _memory(info), *_persistence(info, client), *_replicas(info, client, replicas_required)]
    return [*findings, _clock(client, clock), _latency(client, clock)]


def examine_feed(client: redis.Redis, *, run_id: str) -> list[Finding]:
    """Look at the epoch and at who beats, on the master that holds the feed; `run_id` is the life of all masters."""
    return [_epoch(client, run_id), _workers(client)]


def _trust(info: Info) -> Iterator[Finding]:
    problems = preconditions.unfit(info)
    yield from (
        Finding("server", "problem", problem, "broker serve refuses it, and running workers issue nothing")
        for problem in problems
    )
    if not problems:
        yield Finding("server", "ok", f"Redis {info['redis_version']}, a master that evicts nothing")


def _memory(info: Info) -> Finding:
    used = f"{int(info['used_memory']) // 1024**2} MiB used"
    if not int(info["maxmemory"]):
        return Finding("memory", "warning", f"{used}, no limit", "set maxmemory, or the system ends Redis when memory is out")
    full = preconditions.fullness(info)
    found = f"{used}, {full:.0%} of maxmemory"
    if full >= preconditions.FULL:
        return Finding("memory", "problem", found, "nothing is issued from 90 %; raise maxmemory")
    return Finding(
        "memory", "warning" if full >= _NEARLY_FULL else "ok", found, "raise maxmemory" if full >= _NEARLY_FULL else ""
    )


def _persistence(info: Info, client: redis.Redis) -> Iterator[Finding]:
    configured = _configured(client, "appendfsync", "save")
    if int(info["aof_enabled"]):
        sync = configured.get("appendfsync", "unknown")
        kept = {"always": "a restart loses no audit record", "everysec": "a restart loses about a second of tasks and audit"}
        found = f"appendonly yes, appendfsync {sync}: {kept.get(sync, 'a restart loses what the system had not written')}"
        yield Finding(
            "persistence", "ok" if sync in kept else "warning", found, "" if sync in kept else "set appendfsync everysec"
        )
    else:
        snapshots = configured.get("save", "")
        found = (
            f"snapshots ({snapshots}): a restart loses all since the last"
            if snapshots
            else "none: a restart loses tasks and audit"
        )
        yield Finding("persistence", "warning", found, "set appendonly yes; revocation holds without it")
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding("persistence", "problem", "the server failed to write to its disk", "look into its log; make room")


def _replicas(info: Info, client: redis.Redis, required: int) -> Iterator[Finding]:
    connected = preconditions.replicas(info)
    found = f"{connected} connected, replicas_required = {required}"
    if connected < required:
        yield Finding("replicas", "problem", found, "nothing is issued; start the replicas that are missing")
    elif connected and not required:
        yield Finding("replicas", "warning", found, "set replicas_required, or a promotion can forget what was confirmed")
    else:
        yield Finding("replicas", "ok", found)
    refuses = _configured(client, "min-replicas-to-write").get("min-replicas-to-write")
    if required and refuses is not None and int(refuses) < required:
        advice = f"set min-replicas-to-write {required}, so that an old master refuses by itself"
        yield Finding("replicas", "warning", f"min-replicas-to-write is {refuses}", advice)


def _clock(client: redis.Redis, clock: Clock) -> Finding:
    before = clock.now().wall
    seconds, microseconds = _time(client)
    skew = seconds * 1000 + microseconds // 1000 - (before + clock.now().wall) // 2
    far = abs(skew) > LARGEST_SKEW
    advice = "set both clocks by NTP; workers are not ready beyond a second" if far else ""
    return Finding("clock", "problem" if far else "ok", f"{skew:+d} ms from this machine's", advice)


def _latency(client: redis.Redis, clock: Clock) -> Finding:
    best = min(_milliseconds(client.ping, clock) for _ in range(_ROUND_TRIPS))
    slow = best > SLOW
    return Finding(
        "latency", "warning" if slow else "ok", f"{best} ms for a round trip", "bring broker and Redis nearer" if slow else ""
    )


def _epoch(client: redis.Redis, run_id: str) -> Finding:
    kept: list[bytes | None] = client.hmget(feed_key("epoch"), "id", "run_id")  # type: ignore[assignment]
    epoch, life = kept
    if epoch is None:
        return Finding("epoch", "warning", "none yet", "the first worker that starts begins one")
    if (life or b"").decode() != run_id:
        advice = "running workers begin a new one within a second; with none running, the first that starts does"
        return Finding("epoch", "warning", f"{epoch.decode()}, of another life of the server", advice)
    return Finding("epoch", "ok", epoch.decode())


def _workers(client: redis.Redis) -> Finding:
    seconds, _ = _time(client)
    alive = client.zcount(feed_key("beats"), seconds * 1000 - _FRESH_BEAT, "+inf")
    return Finding("workers", "ok" if alive else "warning", f"{alive} beating", "" if alive else "broker serve starts some")


def _time(client: redis.Redis) -> tuple[int, int]:
    time: tuple[int, int] = client.time()
    return time


def _configured(client: redis.Redis, *names: str) -> dict[str, str]:
    """Return settings of the server; those that it does not tell are left out, for CONFIG is often forbidden."""
    try:
        found: Mapping[Any, Any] = client.config_get(*names)
    except redis.exceptions.ResponseError:
        return {}
    return {name: str(value) for name, value in found.items()}


def _milliseconds(act: Callable[[], object], clock: Clock) -> int:
    start = clock.now()
    act()
    return clock.now().since(start)


def rating_of(findings: Iterable[Finding]) -> Rating:
    """Return the worst of the ratings."""
    ratings = {finding.rating for finding in findings}
    return "problem" if "problem" in ratings else "warning" if "warning" in ratings else "ok"
