"""An agent gives its token back: that token ends, and nothing else does."""

import json

import pytest

from broker.errors import AccessDenied, InvalidClient, InvalidGrant, Unavailable, UnsupportedTokenType
from broker.identity import Presented
from broker.lifecycle import Asked
from scopes import jose
from scopes.claims import TOKEN_TYPE
from tests.broker.ended import is_ended, status_of, told
from tests.broker.front import STRANGER
from tests.broker.recorded import recorded
from tests.broker.redis_server import RedisServer
from tests.broker.world import ADMIN, BOT, CRM, CRM_WORKLOAD, KB, OTHER, World
from tests.scopes.tokens import new_key


async def give_back(world: World, token: str, workload: str = BOT) -> None:
    await world.broker.returning(Presented(world.svid(workload)), token)
    world.follow()


def ended(world: World) -> list[str]:
    """Return the leases that verifiers of the CRM are told to have ended."""
    return [event.value for event in told(world, CRM)]


async def test_a_token_that_is_given_back_ends_everywhere_and_alone(world: World) -> None:
    issued, beside = await world.issue(), await world.issue()
    await give_back(world, issued.access_token)
    assert [is_ended(world, each) for each in (issued, beside)] == [True, False]
    assert ended(world) == [issued.lease_id]
    assert told(world, KB) == []
    assert [await status_of(world, each) for each in (issued, beside)] == ["revoked", "live"]


async def test_it_is_recorded_with_who_gave_it_back(world: World) -> None:
    issued = await world.issue()
    await give_back(world, issued.access_token)
    (record,) = [entry.record for entry in await recorded(world) if entry.record.kind == "token.returned"]
    assert (record.agent, record.workload, record.lease) == ("support-bot", BOT, issued.lease_id)


async def test_to_give_it_back_again_changes_nothing(world: World) -> None:
    issued = await world.issue()
    await give_back(world, issued.access_token)
    seq = world.broker.streams.picture.seq
    await give_back(world, issued.access_token)
    assert world.broker.streams.picture.seq == seq


async def test_what_is_over_changes_nothing(world: World) -> None:
    token = (await world.issue()).access_token
    world.backend.client.delete("ab:{feed}:epoch")
    world.follow()
    await give_back(world, token)
    assert ended(world) == []


async def test_a_token_whose_lease_nobody_knows_ends_too(world: World) -> None:
    issued = await world.issue()
    world.backend.client.hdel(f"ab:{{s{issued.lease_id[-2:]}}}:leases", issued.lease_id)
    await give_back(world, issued.access_token)
    assert is_ended(world, issued)


@pytest.mark.parametrize("text", ["x", "a.b", "a.b.c.d", "not a token", "A" * 9000, "eyJ.é.x"])
async def test_an_unknown_text_changes_nothing(world: World, text: str) -> None:
    """RFC 7009 §2.2: it is not there any more, which is what the caller wanted."""
    await give_back(world, text)
    assert ended(world) == []


async def test_a_forged_token_changes_nothing(world: World) -> None:
    issued = await world.issue()
    payload = jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload
    await give_back(world, jose.write(payload, type=TOKEN_TYPE, key=new_key()))
    await give_back(world, jose.write(payload, type=TOKEN_TYPE, key=world.broker.keys.feed))
    assert not is_ended(world, issued)


@pytest.mark.parametrize("kind", ["an SVID", "a message of the feed", "an operator's assertion"])
async def test_a_kind_that_cannot_be_given_back_is_not_said_to_be(world: World, kind: str) -> None:
    """TRAPS 19: revocation that answers 200 for a token kind it cannot revoke."""
    texts = {
        "an SVID": world.svid(),
        "a message of the feed": world.broker.streams.snapshot(CRM),
        "an operator's assertion": world.operator_assertion(),
    }
    with pytest.raises(UnsupportedTokenType):
        await give_back(world, texts[kind])


async def test_another_agents_token_is_not_ended(world: World) -> None:
    """RFC 7009 §2.1: it was not given to this client."""
    issued = await world.issue()
    with pytest.raises(InvalidGrant):
        await give_back(world, issued.access_token, OTHER)
    assert not is_ended(world, issued)


async def test_a_suspended_agent_gives_back_what_has_ended_already(world: World) -> None:
    token = (await world.issue()).access_token
    await world.broker.lifecycle.change(Asked("support-bot"), "suspended", "a test", ADMIN)
    world.follow()
    await give_back(world, token)
    assert ended(world) == ["support-bot"]


@pytest.mark.parametrize(("workload", "reason"), [(STRANGER, "not_registered"), (CRM_WORKLOAD, "not_registered")])
async def test_whoever_is_no_agent_gives_nothing_back(world: World, workload: str, reason: str) -> None:
    issued = await world.issue()
    with pytest.raises(AccessDenied) as refused:
        await give_back(world, issued.access_token, workload)
    assert refused.value.reason == reason
    assert not is_ended(world, issued)


async def test_an_operator_revokes_and_gives_nothing_back(world: World) -> None:
    with pytest.raises(AccessDenied) as refused:
        await world.broker.returning(Presented(world.operator_assertion()), "x")
    assert refused.value.reason == "not_an_agent"


async def test_nobody_gives_nothing_back(world: World) -> None:
    with pytest.raises(InvalidClient):
        await world.broker.returning(Presented(), "x")


async def test_a_store_that_does_not_answer_is_no_success(own_world: World, redis_server: RedisServer) -> None:
    """TRAPS 19: nothing is reported as ended that may go on."""
    token = (await own_world.issue()).access_token
    redis_server.kill()
    with pytest.raises(Unavailable):
        await own_world.broker.returning(Presented(own_world.svid()), token)


async def test_an_end_that_is_not_confirmed_is_no_success_and_can_be_asked_for_again(world: World, monkeypatch) -> None:
    issued, append = await world.issue(), world.broker.log.append

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(world.broker.log, "append", refuse)
    with pytest.raises(Unavailable):
        await give_back(world, issued.access_token)
    monkeypatch.setattr(world.broker.log, "append", append)
    await give_back(world, issued.access_token)
    assert is_ended(world, issued)


async def test_a_token_of_an_epoch_to_come_is_not_said_to_have_ended(world: World) -> None:
    token = (await world.issue()).access_token
    payload = json.loads(jose.read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    payload["lease"]["epoch"] = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
    later = jose.write(json.dumps(payload).encode(), type=TOKEN_TYPE, key=world.broker.keys.token)
    with pytest.raises(Unavailable, match="epoch"):
        await give_back(world, later)
