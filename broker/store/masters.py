"""Plain clients of the masters that a URL names, to look at them from outside of the broker's own pipelines."""

from collections.abc import Iterable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.errors import ConfigurationError
from broker.store import store


def clients(url: str) -> list[redis.Redis]:
    """Make a client of every master; raise `ConfigurationError` for a URL that is none."""
    timeout = store.TIMEOUT
    try:
        client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0))
    except ValueError as error:
        raise ConfigurationError([f"redis_url: {error}"]) from None
    return [client]


def close(clients: Iterable[redis.Redis]) -> None:
    """Close their connections."""
    for client in clients:
        client.close()


def of_the_feed(clients: list[redis.Redis]) -> redis.Redis:
    """Return the client of the master that holds the feed."""
    return clients[0]


def run_id(clients: list[redis.Redis]) -> str:
    """Return the life of the store, as a worker that is connected to it now knows it."""
    return str(clients[0].info("server")["run_id"])
