"""`/v1/feed`: the feed's keys, its snapshot, its stream, and who follows it how far (`WIRE.md`, "The feed")."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.response import Stream

from broker.api import bodies
from broker.api.presented import presented
from broker.callers import Callers
from broker.enforcement import Enforcement, Known
from broker.errors import InvalidRequest
from broker.feed.acknowledgements import ANONYMOUS, Acknowledgement, Acknowledgements, Position, Process
from broker.feed.follower import Follower
from broker.feed.streams import Streams
from broker.identity import Presented
from broker.keys.keys import Keys

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


@post("/v1/feed/acknowledgements", status_code=200)
async def acknowledge(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    acknowledgements: NamedDependency[Acknowledgements],
    anyone_follows: NamedDependency[bool],
) -> dict[str, bool]:
    """Hear how far a verifier process has come; a place that the log does not hold is a sign of life and no more."""
    shown = presented(request)
    is_anonymous = anyone_follows and shown == Presented()
    workload = None if is_anonymous else await callers.workload(shown)
    said = await bodies.read(request, Acknowledgement)
    if workload is None:
        callers.service_of(said.aud)
    else:
        callers.check_verifier(workload, said.aud)
    return {"counted": await acknowledgements.take(said, workload.id if workload is not None else ANONYMOUS)}


@get("/v1/feed/verifiers")
async def list_verifiers(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], enforcement: NamedDependency[Enforcement]
) -> dict[str, Any]:
    """List every verifier process that was heard of lately, with how far it is behind."""
    await callers.operator(presented(request), "watch")
    position, verifiers = await enforcement.verifiers()
    return {
        "epoch": position.epoch,
        "seq": position.seq,
        "verifiers": [_shown(known, position) for known in verifiers],
    }


def named(process: Process | None) -> dict[str, Any]:
    """Say which process it is; nothing of one that is not known."""
    if process is None:
        return {"workload": None, "process": None, "authenticated": False, "version": None}
    return {
        "workload": process.workload,
        "process": process.id,
        "authenticated": process.workload != ANONYMOUS,
        "version": process.version,
    }


def _shown(known: Known, position: Position) -> dict[str, Any]:
    process = known.process
    return {
        "service": known.service,
        "audience": known.audience,
        **named(process),
        "enforces": sorted(process.enforces),
        "epoch": process.epoch,
        "seq": process.seq,
        "lag": position.seq - process.seq if process.epoch == position.epoch else None,
        "age_ms": process.last - process.as_of if process.epoch else None,
        "heard_ms": position.time - process.last,
    }


async def _check(request: Request[Any, Any, Any], callers: Callers, audience: str, *, anyone: bool) -> None:
    if not audience:
        raise InvalidRequest("name the audience of the service: ?aud=…")
    if not anyone:
        await callers.follower_of(presented(request), audience)


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
