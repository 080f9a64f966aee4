"""The one connection that a line speaks through, by what the address names."""

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.store.address import Address, Node


def pool(address: Address, *, timeout: float, node: Node | None = None) -> redis.asyncio.ConnectionPool:
    """Make the connection of an event loop; in a cluster, to this node. `timeout` is seconds."""
    limits = _limits(timeout, AsyncRetry(NoBackoff(), 0))
    if address.kind == "sentinel":
        return _SentinelPool(address, limits)
    if node is None:
        return redis.asyncio.ConnectionPool.from_url(address.url, max_connections=1, **limits)
    over = redis.asyncio.SSLConnection if address.tls else redis.asyncio.Connection
    return redis.asyncio.ConnectionPool(over, 1, host=node[0], port=node[1], **address.options, **limits)


def sync_pool(address: Address, *, timeout: float, node: Node | None = None) -> redis.ConnectionPool:
    """Make the connection of a thread."""
    limits = _limits(timeout, Retry(NoBackoff(), 0))
    if address.kind == "sentinel":
        return _SyncSentinelPool(address, limits)
    if node is None:
        return redis.ConnectionPool.from_url(address.url, max_connections=1, **limits)
    over = redis.SSLConnection if address.tls else redis.Connection
    return redis.ConnectionPool(over, max_connections=1, host=node[0], port=node[1], **address.options, **limits)


def _limits(timeout: float, retry: Any) -> dict[str, Any]:
    # The library would repeat what was not answered, a script too (`TRAPS.md` 21b).
    return {
        "retry": retry,
        "retry_on_error": [],
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": 0,
    }


class _SentinelPool(redis.asyncio.sentinel.SentinelConnectionPool):
    """Asks the sentinels for the master whenever it connects."""

    def __init__(self, address: Address, limits: dict[str, Any]) -> None:
        sentinel_options = {**address.sentinel_options, **limits, "ssl": address.tls}
        manager = redis.asyncio.sentinel.Sentinel(address.nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        options = {**address.options, **limits, "ssl": address.tls, "max_connections": 1}
        super().__init__(address.service, manager, **options)  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


class _SyncSentinelPool(redis.sentinel.SentinelConnectionPool):
    def __init__(self, address: Address, limits: dict[str, Any]) -> None:
        sentinel_options = {**address.sentinel_options, **limits, "ssl": address.tls}
        manager = redis.sentinel.Sentinel(address.nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        options = {**address.options, **limits, "ssl": address.tls, "max_connections": 1}
        super().__init__(address.service, manager, **options)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        super().close()
        for sentinel in self.sentinel_manager.sentinels:
            sentinel.close()
