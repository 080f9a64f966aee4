"""Plain clients of the masters that a URL names, to look at them from outside of the broker's own pipelines."""

from collections.abc import Iterable

import redis

from broker.store import pools, store, topology
from broker.store.address import Address, Node, parse
from broker.store.sync_line import SyncLine


def clients(url: str) -> list[redis.Redis]:
    """Make a client of every master, that of the feed first; raise `ConfigurationError` for a URL that is none.

    The masters of a cluster are asked for now; raises the library's errors where no node tells.
    """
    address = parse(url)
    nodes = _masters(address) if address.kind == "cluster" else (None,)
    return [redis.Redis(connection_pool=pools.sync_pool(address, timeout=store.TIMEOUT, node=node)) for node in nodes]


def _masters(address: Address) -> tuple[Node, ...]:
    last: Exception | None = None
    for node in address.nodes:
        line = SyncLine(pools.sync_pool(address, timeout=store.TIMEOUT, node=node))
        try:
            return topology.read(line.ask("", topology.QUESTION, writes=False), node).masters
        except (redis.exceptions.RedisError, OSError) as error:
            last = error
        finally:
            line.close()
    assert last is not None
    raise last


def close(clients: Iterable[redis.Redis]) -> None:
    """Close their connections."""
    for client in clients:
        client.connection_pool.close()


def of_the_feed(clients: list[redis.Redis]) -> redis.Redis:
    """Return the client of the master that holds the feed."""
    return clients[0]


def run_id(clients: list[redis.Redis]) -> str:
    """Return the life of the store, as a worker that is connected to it now knows it."""
    lives = [str(client.info("server")["run_id"]) for client in clients]
    return lives[0] if len(lives) == 1 else topology.life_of(lives)
