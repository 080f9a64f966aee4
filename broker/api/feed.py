"""`/v1/feed`: the feed's keys, its snapshot and its stream (`WIRE.md`, "The feed")."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream

from broker.callers import Callers
from broker.errors import InvalidRequest
from broker.feed.follower import Follower
from broker.feed.streams import Streams
from broker.keys import Keys

_NO_STORE = {"Cache-Control": "no-store"}
MAX_WAITING = 1_000
"""How many frames a slow reader may be behind before its stream ends; it comes back for a snapshot."""


@get("/v1/feed/keys")
async def feed_keys(keys: NamedDependency[Keys]) -> Response[bytes]:
    """Publish the keys that verify the feed, and nothing else."""
    return Response(keys.feed_jwks, media_type="application/jwk-set+json", headers={"Cache-Control": "public, max-age=60"})


@get("/v1/feed")
async def snapshot(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    streams: NamedDependency[Streams],
    follower: NamedDependency[Follower],
    anyone_follows: NamedDependency[bool],
    aud: FromQuery[str] = "",
) -> Response[str]:
    """Return everything alive for an audience, signed."""
    await _check(request, callers, aud, anyone=anyone_follows)
    follower.standpoint()
    return Response(await asyncio.to_thread(streams.snapshot, aud), media_type="application/jwt", headers=_NO_STORE)


@get("/v1/feed/stream")
async def stream(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    streams: NamedDependency[Streams],
    follower: NamedDependency[Follower],
    anyone_follows: NamedDependency[bool],
    aud: FromQuery[str] = "",
) -> Stream:
    """Stream the feed of one audience: the snapshot, then messages, then heartbeats (server-sent events)."""
    await _check(request, callers, aud, anyone=anyone_follows)
    follower.standpoint()
    headers = {**_NO_STORE, "X-Accel-Buffering": "no"}
    return Stream(_frames(streams, aud), media_type="text/event-stream", headers=headers)


async def _check(request: Request[Any, Any, Any], callers: Callers, audience: str, *, anyone: bool) -> None:
    if not audience:
        raise InvalidRequest("name the audience of the service: ?aud=…")
    if not anyone:
        await callers.follower_of(request.headers.get("authorization"), audience)


async def _frames(streams: Streams, audience: str) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)

    def keep(frame: bytes) -> None:
        # Whoever reads nothing at all is told nothing more, for what waits for them is kept in memory.
        if waiting.full():
            streams.leave(audience, deliver)
        else:
            waiting.put_nowait(frame)

    def deliver(frame: bytes) -> None:
        loop.call_soon_threadsafe(keep, frame)

    try:
        yield await asyncio.to_thread(streams.join, audience, deliver)
        while not waiting.full() and (frame := await waiting.get()):
            yield frame
    finally:
        streams.leave(audience, deliver)
