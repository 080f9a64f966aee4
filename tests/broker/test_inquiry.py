"""What a service is told about a token: in force, or nothing; and nothing at all where nobody can tell."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from broker.errors import AccessDenied, InvalidClient, Unavailable
from broker.feed.event import NO_END, new_event
from broker.identity import Presented
from broker.lifecycle import Asked
from broker.selector import ReductionSelector
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Claims
from scopes.revocations import SNAPSHOT_TYPE
from tests.broker.front import STRANGER
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, BOT, CRM, CRM_WORKLOAD, KB, World
from tests.scopes.tokens import new_key


async def told(world: World, token: str, workload: str = CRM_WORKLOAD) -> Claims | None:
    world.follow()
    return await world.broker.inquiry.introspect(Presented(world.svid(workload)), token)


def claims_of(token: str) -> Claims:
    return token_claims.decode(jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)[0]


async def test_a_service_is_told_what_a_token_in_force_says(world: World) -> None:
    token = (await world.issue()).access_token
    assert await told(world, token) == claims_of(token)


async def revoke_lease(world: World, token: str) -> None:
    await world.revoke(lease=claims_of(token).jti)


async def revoke_key(world: World, token: str) -> None:
    await world.revoke(key=world.broker.keys.token.kid)


async def suspend(world: World, token: str, instance: str | None = None) -> None:
    await world.broker.lifecycle.change(Asked("support-bot", instance), "suspended", "a test", ADMIN)


async def pause(world: World, token: str) -> None:
    await world.broker.reduction.reduce(ReductionSelector(service="crm"), "paused", "a test", ADMIN)


async def end_task(world: World, token: str) -> None:
    await world.broker.revocation.end_task(claims_of(token).txn, "completed", ADMIN)


async def expire(world: World, token: str) -> None:
    world.advance(301_000)


async def begin_epoch(world: World, token: str) -> None:
    world.backend.client.delete("ab:{feed}:epoch")


async def forget_lease(world: World, token: str) -> None:
    world.backend.client.hdel(f"ab:{{s{claims_of(token).jti[-2:]}}}:leases", claims_of(token).jti)


async def undo_lease(world: World, token: str) -> None:
    await world.broker.leases.end([claims_of(token).jti], "undone")


ENDS: dict[str, Callable[[World, str], Awaitable[None]]] = {
    "its lease is revoked": revoke_lease,
    "its agent is revoked": lambda world, _: world.revoke(agent="support-bot"),
    "all is revoked": lambda world, _: world.revoke(all=True),
    "its agent is suspended": suspend,
    "its instance is suspended": lambda world, token: suspend(world, token, BOT),
    "its service is paused": pause,
    "its task has ended": end_task,
    "its key is revoked": revoke_key,
    "it has expired": expire,
    "a new epoch began": begin_epoch,
    "its lease is not known": forget_lease,
    "its lease was undone": undo_lease,
}


@pytest.mark.parametrize("how", ENDS)
async def test_of_a_token_that_is_over_nothing_is_told(world: World, how: str) -> None:
    token = (await world.issue()).access_token
    await ENDS[how](world, token)
    assert await told(world, token) is None


async def test_what_the_picture_has_ended_is_over_before_any_lease_is_marked(world: World, monkeypatch) -> None:
    """The picture first, the lease second (`DESIGN.md` 3.5)."""
    token = (await world.issue()).access_token
    await world.revoke(agent="support-bot")
    monkeypatch.setattr(world.broker.leases, "known", None)
    assert await told(world, token) is None


def forged(world: World, **changes: Any) -> Callable[[str], str]:
    """Return how to write a token anew with other claims, signed by the broker's own key."""

    def rewritten(token: str) -> str:
        payload = json.loads(jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)
        return jose.write(json.dumps(payload | changes).encode(), type=TOKEN_TYPE, key=world.broker.keys.token)

    return rewritten


def with_type(world: World, type: str) -> Callable[[str], str]:
    def rewritten(token: str) -> str:
        payload = jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload
        return jose.write(payload, type=type, key=world.broker.keys.token)

    return rewritten


def with_key(key: Any) -> Callable[[str], str]:
    def rewritten(token: str) -> str:
        payload = jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload
        return jose.write(payload, type=TOKEN_TYPE, key=key)

    return rewritten


HOSTILE: dict[str, Callable[[World], Callable[[str], str]]] = {
    "nothing": lambda _: lambda _: "",
    "no token": lambda _: lambda _: "x",
    "a longer text than any token": lambda _: lambda token: token + "A" * 8192,
    "TRAPS 1: a feed message as a token": lambda world: with_type(world, "revocations+jwt"),
    "TRAPS 1: an SVID's type": lambda world: with_type(world, "JWT"),
    "TRAPS 1: a snapshot": lambda world: lambda _: world.broker.streams.snapshot(CRM),
    "TRAPS 1: the caller's own assertion": lambda world: lambda _: world.svid(CRM_WORKLOAD),
    "TRAPS 2: padding": lambda _: lambda token: token + "==",
    "TRAPS 3: another key": lambda _: with_key(new_key()),
    "the feed's key": lambda world: with_key(world.broker.keys.feed),
    "RFC 8725 §3.8: another issuer": lambda world: forged(world, iss="https://other.test"),
    "RFC 8725 §3.9: another audience": lambda world: forged(world, aud=KB),
    "a claim that nobody knows": lambda world: forged(world, admin=True),
    "a changed signature": lambda _: lambda token: token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8),
    "a lease that never was": lambda world: forged(world, jti="lse_01JE0000000000000000000007"),
    "a lease of no shape": lambda world: forged(world, jti="x"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_of_what_is_no_token_nothing_is_told(world: World, name: str) -> None:
    token = (await world.issue()).access_token
    assert await told(world, HOSTILE[name](world)(token)) is None
    assert await told(world, token) is not None


async def test_a_snapshot_is_what_the_table_says(world: World) -> None:
    """A hostile example that is something else than its name says proves nothing."""
    assert jose.read(world.broker.streams.snapshot(CRM), types=frozenset({SNAPSHOT_TYPE}), max_bytes=1 << 20)


async def test_of_another_services_token_nothing_is_told(world: World) -> None:
    token = (await world.issue("kb:article/1#read")).access_token
    assert await told(world, token) is None


async def test_a_service_cannot_ask_about_more_by_asking_as_somebody_else(world: World) -> None:
    token = (await world.issue()).access_token
    for workload in (BOT, STRANGER):
        with pytest.raises(AccessDenied) as refused:
            await told(world, token, workload)
        assert refused.value.reason == "not_its_workload"


async def test_an_operator_is_no_service(world: World) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.inquiry.introspect(Presented(world.operator_assertion()), "x")
    assert refused.value.reason == "not_its_workload"


async def test_nobody_is_told_nothing(world: World) -> None:
    with pytest.raises(InvalidClient):
        await world.broker.inquiry.introspect(Presented(), (await world.issue()).access_token)


async def test_a_worker_that_knows_nothing_fresh_tells_nothing(world: World, impatient) -> None:
    token = (await world.issue()).access_token
    world.clock.advance(1_500)
    with pytest.raises(Unavailable):
        await world.broker.inquiry.introspect(Presented(world.svid(CRM_WORKLOAD)), token)


async def test_a_store_that_does_not_answer_tells_nothing(own_world: World, redis_server: RedisServer) -> None:
    """Unknown is never active (I5)."""
    token = (await own_world.issue()).access_token
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.broker.inquiry.introspect(Presented(own_world.svid(CRM_WORKLOAD)), token)


async def test_a_token_of_an_epoch_to_come_is_not_judged(world: World) -> None:
    token = (await world.issue()).access_token
    payload = json.loads(jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    payload["lease"]["epoch"] = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    later = jose.write(json.dumps(payload).encode(), type=TOKEN_TYPE, key=world.broker.keys.token)
    with pytest.raises(Unavailable, match="epoch"):
        await told(world, later)


async def test_an_event_of_a_kind_nobody_knows_ends_it_too(world: World) -> None:
    """I5: unknown means no."""
    token = (await world.issue()).access_token
    event = msgspec.structs.replace(new_event("new-kind", "x", now=world.clock.now().wall), until=NO_END)
    await world.broker.log.append(world.broker.streams.picture.epoch, [event])
    assert await told(world, token) is None
