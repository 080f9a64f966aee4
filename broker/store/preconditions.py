"""What a Redis server has to be before a broker trusts it with revocations, and before it issues on it."""

from collections.abc import Mapping
from typing import Any

import redis

from broker.errors import ConfigurationError, Unavailable
from broker.store import masters

FULL = 0.9
"""The part of `maxmemory` from which nothing is issued: what ends access needs the rest."""

_POLICY = "noeviction"
_OLDEST = 7

Info = Mapping[str, Any]
"""What a server says of itself, as `INFO server memory replication` has it."""


def check(url: str) -> None:
    """Raise `ConfigurationError` for a server that may forget or follows another, `Unavailable` for one that does not answer.

    Asked once, before anything listens. Neither message holds the URL: it may hold a password.
    """
    clients: list[redis.Redis] = []
    try:
        clients = masters.clients(url)
        problems = [problem for client in clients for problem in unfit(told_by(client))]
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise ConfigurationError([f"redis_url: the server refuses the broker: {error}"]) from None
    except (redis.exceptions.RedisError, OSError) as error:
        raise Unavailable(
            f"redis_url: the server does not answer ({type(error).__name__}); nothing is issued until it does", retry_after=1
        ) from None
    finally:
        masters.close(clients)
    if problems:
        raise ConfigurationError([f"redis_url: {problem}" for problem in problems])


def told_by(client: redis.Redis) -> Info:
    """Return what a server says of itself."""
    info: Info = client.info("server", "memory", "replication")
    return info


def unfit(info: Info) -> list[str]:
    """Name what keeps a broker from trusting a server at all."""
    problems = []
    version = str(info.get("redis_version"))
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < _OLDEST:
        problems.append(
            f"the server is Redis {version}; {_OLDEST}.0 is needed, whose scripts may end access when memory is full"
        )
    if info.get("role") != "master":
        problems.append("the server is a replica; name the master")
    if info.get("maxmemory_policy") != _POLICY:
        policy = info.get("maxmemory_policy")
        problems.append(f"the server's maxmemory-policy is {policy}, so it may forget a revocation; set it to {_POLICY}")
    return problems


def short_of(info: Info, *, replicas_required: int) -> list[str]:
    """Name what keeps a broker from issuing on a server that it trusts, for as long as it lasts."""
    problems = []
    if fullness(info) >= FULL:
        problems.append(f"the server's memory is {fullness(info):.0%} full; give it more, or remove what is not needed")
    connected = replicas(info)
    if connected < replicas_required:
        problems.append(f"the server has {connected} of the {replicas_required} replicas that replicas_required asks for")
    return problems


def fullness(info: Info) -> float:
    """Return the part of `maxmemory` that is used; 0 where there is no limit."""
    limit = int(info["maxmemory"])
    # The server does not count its buffers for replicas and for the append-only file when it decides that it is full.
    used = int(info["used_memory"]) - int(info.get("mem_not_counted_for_evict", 0))
    return used / limit if limit else 0.0


def replicas(info: Info) -> int:
    """Return how many replicas are connected and have caught up."""
    states = [info[f"slave{number}"]["state"] for number in range(int(info["connected_slaves"])) if f"slave{number}" in info]
    return states.count("online")
