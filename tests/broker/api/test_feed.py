"""`/v1/feed`: who may follow, what comes, and that nobody who hangs or leaves is a burden."""

import asyncio
import json
from pathlib import Path

import pytest
from litestar.types import ASGIApp

from broker.api import feed
from broker.feed.event import new_event
from broker.feed.streams import HEARTBEAT
from scopes import jose, revocations
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture
from tests.broker.api.asgi import Exchange
from tests.broker.application import application_of
from tests.broker.world import BOT, CRM, CRM_WORKLOAD, ISSUER, KB, Backend, World


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    """A broker whose feed only the services' workloads may follow, as in production."""
    made = World(tmp_path, backend, changes={"feed_access": "workloads"})
    made.follow()
    return made


@pytest.fixture
def app(world: World) -> ASGIApp:
    return application_of(world.broker)


async def commit(world: World, value: str = "support-bot") -> None:
    event = new_event("agent", value, now=world.clock.now().wall)
    await world.broker.log.append(world.broker.streams.picture.epoch, [event])
    world.follow()


async def keys_of(app: ASGIApp) -> KeySet:
    async with Exchange(app, "/v1/feed/keys") as answer:
        return KeySet.parse(await answer.body(), algorithms=TOKEN_ALGORITHMS)


def data_of(frame: bytes) -> str:
    return frame.decode().split("\n")[1].removeprefix("data: ")


async def test_the_feeds_keys_are_published_and_are_not_the_tokens(world: World, app: ASGIApp) -> None:
    async with Exchange(app, "/v1/feed/keys") as answer:
        jwks = await answer.json()
    assert [key["kid"] for key in jwks["keys"]] == [world.broker.keys.feed.kid]
    assert world.broker.keys.token.kid != world.broker.keys.feed.kid
    assert "d" not in jwks["keys"][0]
    assert answer.headers["content-type"].startswith("application/jwk-set+json")


async def test_a_verifier_follows_by_what_is_published_alone(world: World, app: ASGIApp) -> None:
    """Keys, snapshot, messages: applied with the library, as any verifier does."""
    keys = await keys_of(app)
    named = {"keys": keys, "issuer": ISSUER, "audience": CRM}
    await commit(world, "before")
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.headers["cache-control"] == "no-store"
        picture = Picture().adopt(revocations.read_snapshot(data_of(await stream.chunk()), **named), world.clock.now())
        await commit(world, "after")
        picture = picture.apply(revocations.read_message(data_of(await stream.chunk()), **named), world.clock.now())
    assert [event.value for event in picture.events()] == ["before", "after"]


async def test_a_snapshot_can_be_had_by_itself_and_is_never_stored(world: World, app: ASGIApp) -> None:
    await commit(world, "ended")
    async with Exchange(app, "/v1/feed", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as answer:
        text = (await answer.body()).decode()
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    snapshot = revocations.read_snapshot(text, keys=await keys_of(app), issuer=ISSUER, audience=CRM)
    assert [event.value for event in snapshot.events] == ["ended"]


@pytest.mark.parametrize("path", ["/v1/feed", "/v1/feed/stream"])
async def test_only_the_services_own_workloads_and_operators_follow_its_feed(world: World, app: ASGIApp, path: str) -> None:
    statuses = {}
    for who, assertion, audience in (
        ("its workload", world.svid(CRM_WORKLOAD), CRM),
        ("an operator", world.operator_assertion(), CRM),
        ("its workload, for another", world.svid(CRM_WORKLOAD), KB),
        ("an agent", world.svid(BOT), CRM),
        ("an auditor", world.operator_assertion("watcher"), CRM),
        ("anybody", None, CRM),
        ("a liar", "nonsense", CRM),
        ("its workload, for nobody", world.svid(CRM_WORKLOAD), "https://nobody.test"),
    ):
        async with Exchange(app, path, assertion=assertion, aud=audience) as answer:
            statuses[who] = answer.status
    assert statuses == {
        "its workload": 200,
        "an operator": 200,
        "its workload, for another": 403,
        "an agent": 403,
        "an auditor": 403,
        "anybody": 401,
        "a liar": 401,
        "its workload, for nobody": 403,
    }


@pytest.mark.parametrize("path", ["/v1/feed", "/v1/feed/stream"])
async def test_a_feed_is_of_one_audience_which_has_to_be_named(world: World, app: ASGIApp, path: str) -> None:
    async with Exchange(app, path, assertion=world.svid(CRM_WORKLOAD)) as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")


async def test_where_it_is_configured_anyone_follows(tmp_path: Path, backend: Backend) -> None:
    world = World(tmp_path, backend, changes={"feed_access": "anyone"})
    world.follow()
    async with Exchange(application_of(world.broker), "/v1/feed", aud=CRM) as answer:
        assert answer.status == 200


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("path", ["/v1/feed", "/v1/feed/stream"])
async def test_a_worker_that_knows_too_little_shows_nothing(world: World, app: ASGIApp, path: str) -> None:
    """A genuine, signed and old picture would make a verifier believe that it is up to date (TRAPS 21)."""
    assertion = world.svid(CRM_WORKLOAD)
    world.clock.advance(1_001)
    async with Exchange(app, path, assertion=assertion, aud=CRM) as answer:
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_stream_ends_when_a_new_epoch_begins(world: World, app: ASGIApp) -> None:
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        await stream.chunk()
        for name in world.backend.client.keys("ab:*"):
            world.backend.client.delete(name)
        world.follow()
        assert await stream.body() == b""


async def test_who_hangs_up_is_told_nothing_more(world: World, app: ASGIApp) -> None:
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        await stream.chunk()
    assert listeners(world) == 0


async def test_a_reader_that_falls_too_far_behind_is_let_go_and_comes_back_for_a_snapshot(
    world: World, app: ASGIApp, monkeypatch
) -> None:
    monkeypatch.setattr(feed, "MAX_WAITING", 5)
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        await stream.chunk()
        stream.read_nothing()
        for number in range(20):
            await commit(world, f"agent-{number}")
            await asyncio.sleep(0)
        assert listeners(world) == 0
        stream.read_on()
        assert (await stream.body()).count(b"event: message") <= 6
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        named = {"keys": await keys_of(app), "issuer": ISSUER, "audience": CRM}
        snapshot = revocations.read_snapshot(data_of(await stream.chunk()), **named)
    assert len(snapshot.events) == 20


async def test_a_slow_reader_keeps_nobody_else_waiting(world: World, app: ASGIApp, monkeypatch) -> None:
    """One bad instance must not lock the whole fleet (TRAPS 25)."""
    monkeypatch.setattr(feed, "MAX_WAITING", 5)
    assertion = world.svid(CRM_WORKLOAD)
    async with (
        Exchange(app, "/v1/feed/stream", assertion=assertion, aud=CRM) as slow,
        Exchange(app, "/v1/feed/stream", assertion=assertion, aud=CRM) as quick,
    ):
        await slow.chunk()
        await quick.chunk()
        slow.read_nothing()
        for number in range(20):
            await commit(world, f"agent-{number}")
            assert f"agent-{number}" in told(await quick.chunk())


async def test_a_quiet_stream_carries_heartbeats(world: World, app: ASGIApp) -> None:
    async with Exchange(app, "/v1/feed/stream", assertion=world.svid(CRM_WORKLOAD), aud=CRM) as stream:
        await stream.chunk()
        world.advance(HEARTBEAT)
        assert told(await stream.chunk()) == []


def listeners(world: World) -> int:
    """Count who is told what happens, by telling them."""
    channels = world.broker.streams._channels
    return sum(len(channel.listeners) for channel in channels.values())


def told(frame: bytes) -> list[str]:
    jws = jose.read(data_of(frame), types=frozenset({revocations.MESSAGE_TYPE}), max_bytes=revocations.MAX_MESSAGE_BYTES)
    return [event["value"] for event in json.loads(jws.unverified_payload).get("events", [])]
