"""What a Redis server has to be before a broker trusts it with revocations; asked once, before anything listens."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.errors import ConfigurationError, Unavailable
from broker.store.store import TIMEOUT

_POLICY = "noeviction"
_OLDEST = 7


def check(url: str) -> None:
    """Raise `ConfigurationError` for a server that may forget or follows another, `Unavailable` for one that does not answer.

    Neither message holds the URL: it may hold a password.
    """
    try:
        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
    except ValueError as error:
        raise ConfigurationError([f"redis_url: {error}"]) from None
    try:
        info = client.info("server", "memory", "replication")
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise ConfigurationError([f"redis_url: the server refuses the broker: {error}"]) from None
    except (redis.exceptions.RedisError, OSError) as error:
        raise Unavailable(
            f"redis_url: the server does not answer ({type(error).__name__}); nothing is issued until it does", retry_after=1
        ) from None
    finally:
        client.close()
    problems = problems_of(info)
    if problems:
        raise ConfigurationError(problems)


def problems_of(info: dict[str, str]) -> list[str]:
    """Name what of a server's `INFO` keeps a broker from trusting it."""
    problems = []
    major = str(info.get("redis_version")).partition(".")[0]
    if not major.isdecimal() or int(major) < _OLDEST:
        problems.append(
            f"redis_url: the server is Redis {info.get('redis_version')}; {_OLDEST}.0 is needed, whose scripts may end access "
            "when memory is full"
        )
    if info.get("role") != "master":
        problems.append("redis_url: the server is a replica; name the master")
    if info.get("maxmemory_policy") != _POLICY:
        problems.append(
            f"redis_url: the server's maxmemory-policy is {info.get('maxmemory_policy')}, so it may forget a revocation; "
            f"set it to {_POLICY}"
        )
    return problems
