"""Plain clients of the masters that a URL names, to look at them from outside of the broker's own pipelines."""

from collections.abc import Iterable

import redis

from broker.store import pools, store
from broker.store.address import parse


def clients(url: str) -> list[redis.Redis]:
    """Make a client of every master; raise `ConfigurationError` for a URL that is none."""
    address = parse(url)
    return [redis.Redis(connection_pool=pools.sync_pool(address, timeout=store.TIMEOUT))]


def close(clients: Iterable[redis.Redis]) -> None:
    """Close their connections."""
    for client in clients:
        client.connection_pool.close()


def of_the_feed(clients: list[redis.Redis]) -> redis.Redis:
    """Return the client of the master that holds the feed."""
    return clients[0]


def run_id(clients: list[redis.Redis]) -> str:
    """Return the life of the store, as a worker that is connected to it now knows it."""
    return str(clients[0].info("server")["run_id"])
