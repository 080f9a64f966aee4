"""What a Redis server has to be before a broker trusts it with revocations; asked once, before anything listens."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.errors import ConfigurationError, Unavailable
from broker.store.store import TIMEOUT

_POLICY = "noeviction"


def check(url: str) -> None:
    """Raise `ConfigurationError` for a server that may forget or follows another, `Unavailable` for one that does not answer.

    Neither message holds the URL: it may hold a password.
    """
    try:
        client = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
    except ValueError as error:
        raise ConfigurationError([f"redis_url: {error}"]) from None
    try:
        info = client.info("memory", "replication")
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError) as error:
        raise ConfigurationError([f"redis_url: the server refuses the broker: {error}"]) from None
    except (redis.exceptions.RedisError, OSError) as error:
        raise Unavailable(
            f"redis_url: the server does not answer ({type(error).__name__}); nothing is issued until it does", retry_after=1
        ) from None
    finally:
        client.close()
    problems = list(_problems(info))
    if problems:
        raise ConfigurationError(problems)


def _problems(info: dict[str, str]) -> list[str]:
    problems = []
    if info.get("role") != "master":
        problems.append("redis_url: the server is a replica; name the master")
    if info.get("maxmemory_policy") != _POLICY:
        problems.append(
            f"redis_url: the server's maxmemory-policy is {info.get('maxmemory_policy')}, so it may forget a revocation; "
            f"set it to {_POLICY}"
        )
    return problems
