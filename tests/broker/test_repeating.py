"""An agent that did not hear the answer asks again with the same `Idempotency-Key`, and gets the same lease."""

import asyncio
from typing import Any

import pytest

from broker.errors import InvalidRequest, Unavailable
from broker.exchange import TokenRequest
from broker.identity import Presented
from broker.issuer import Issued
from broker.tasks import Declaration
from scopes.scope import Scope
from tests.broker.world import World

DECLARED = Declaration(type="summarise-ticket")


async def ask(world: World, key: str | None = "key-1", **changes: Any) -> Issued:
    asked = TokenRequest(Presented(world.svid()), Scope.parse("crm:ticket/4711#read[subject]"), declaration=DECLARED)
    return await world.broker.exchange(asked._replace(**{"idempotency_key": key, **changes}))


async def test_the_same_request_gets_the_same_lease_and_task_again(world: World) -> None:
    first = await ask(world)
    world.advance(2_000)
    again = await ask(world)
    assert (again.lease_id, again.task_id) == (first.lease_id, first.task_id)
    assert await world.broker.leases.count_live(world.broker.streams.picture.epoch, "support-bot") == 1


async def test_a_renewed_assertion_is_the_same_caller(world: World) -> None:
    first = await ask(world)
    world.advance(1_000)
    assert (await ask(world, presented=Presented(world.svid()))).lease_id == first.lease_id


@pytest.mark.parametrize(
    "changes",
    [{"idempotency_key": "key-2"}, {"scope": Scope.parse("crm:ticket/4711#read[description]")}, {"ttl": 10}],
    ids=["another key", "another scope", "another time to live"],
)
async def test_anything_else_is_another_request(world: World, changes: dict[str, Any]) -> None:
    assert (await ask(world, **changes)).lease_id != (await ask(world)).lease_id


async def test_without_a_key_every_request_is_its_own(world: World) -> None:
    assert (await ask(world, None)).lease_id != (await ask(world, None)).lease_id


async def test_many_at_once_get_one_lease(world: World) -> None:
    issued = await asyncio.gather(*(ask(world) for _ in range(30)))
    assert len({one.lease_id for one in issued}) == 1


async def test_a_repetition_after_a_revocation_gets_no_token(world: World) -> None:
    """A repeated answer must not bring back what was taken away: it carries the first decision's position."""
    first = await ask(world)
    await world.revoke(agent="support-bot")
    world.follow()
    with pytest.raises(Unavailable, match="revocation overtook"):
        await ask(world)
    await world.broker.leases.end([first.lease_id], "revoked")
    with pytest.raises(InvalidRequest, match="ask with another key"):
        await ask(world)
    assert (await ask(world, "key-2", declaration=DECLARED)).lease_id != first.lease_id


async def test_a_repetition_after_the_lease_expired_asks_for_another_key(world: World) -> None:
    await ask(world, ttl=10)
    world.advance(11_000)
    with pytest.raises(InvalidRequest, match="has ended"):
        await ask(world, ttl=10)
