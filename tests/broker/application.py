"""The HTTP application of a broker, for tests that make many brokers: to build one takes longer than most of these tests."""

import functools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from litestar import Litestar
from litestar.types import ASGIApp

from broker.app import Broker

_ROOMS: ContextVar[Mapping[str, Any]] = ContextVar("rooms")
_built: list[Litestar] = []


def application_of(broker: Broker) -> ASGIApp:
    """Return what answers as `broker.application()` does: one application for all brokers, each request with its own's rooms.

    A broker behind a proxy has an application of its own, for what it believes of proxies is the application's.
    """
    if broker.configuration.settings.proxies:
        return broker.application()
    if not _built:
        _built.append(_built_of(broker))
    rooms = broker._given()

    async def answer(*exchange: Any) -> None:
        before = _ROOMS.set(rooms)
        try:
            await _built[0](*exchange)
        finally:
            _ROOMS.reset(before)

    return answer


def _built_of(broker: Broker) -> Litestar:
    application = broker.application()
    for name, provide in application.dependencies.items():
        provide.dependency, provide.use_cache = functools.partial(_room, name), False  # type: ignore[union-attr]
    return application


def _room(name: str) -> Any:
    return _ROOMS.get()[name]
