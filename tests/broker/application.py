"""The HTTP application of a broker, for tests that make many brokers: to build one takes longer than most of these tests."""

import functools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from litestar import Litestar
from litestar.types import ASGIApp

from broker.app import Broker

_ROOMS: ContextVar[Mapping[str, Any]] = ContextVar("rooms")
_BUILT: dict[object, Litestar] = {}
"""Applications by what they believe of proxies, which is the application's and not a room's."""


def application_of(broker: Broker) -> ASGIApp:
    """Return what answers as `broker.application()` does: one application for all of a kind, each request with its rooms."""
    believed = broker.configuration.settings.trust.proxy
    if believed not in _BUILT:
        _BUILT[believed] = _built_of(broker)
    built, rooms = _BUILT[believed], broker._given()

    async def answer(*exchange: Any) -> None:
        before = _ROOMS.set(rooms)
        try:
            await built(*exchange)
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
