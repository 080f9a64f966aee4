import asyncio

import pytest

from broker.errors import BrokerError, InvalidDpopProof, Unavailable, UseDpopNonce
from broker.possession import Nonces, Possession
from broker.possession.nonces import SLOT
from broker.store import key, shard_of
from scopes import proof as proofs
from scopes.keys import SigningKey
from tests.broker.world import AGENT_KEY, ISSUER, World
from tests.scopes.proofs import HOSTILE, Call, Hostile
from tests.scopes.proofs import proof as written
from tests.scopes.tokens import new_key

URL = f"{ISSUER}/oauth/token"


async def call_of(world: World, key: SigningKey = AGENT_KEY) -> Call:
    """Return what a good proof of this moment says."""
    return Call(key, "POST", URL, world.clock.now().wall // 1000, nonce=await world.broker.possession.nonce())


async def test_a_proof_shows_whose_key_it_is(world: World) -> None:
    assert await world.broker.possession.prove(written(await call_of(world))) == AGENT_KEY.kid


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
async def test_a_hostile_proof_is_refused(world: World, hostile: Hostile) -> None:
    """Each names the rule it breaks; the same proof unbroken is accepted."""
    call = await call_of(world)
    with pytest.raises(InvalidDpopProof):
        await world.broker.possession.prove(hostile.write(call))
    assert await world.broker.possession.prove(written(call))


@pytest.mark.parametrize("nonce", [None, "", "guessed"], ids=repr)
async def test_a_proof_without_a_nonce_of_ours_is_to_be_made_again(world: World, nonce: str | None) -> None:
    """RFC 9449 §8."""
    with pytest.raises(UseDpopNonce):
        await world.broker.possession.prove(await world.prove(nonce=nonce))


async def test_a_nonce_that_is_too_old_is_not_one(world: World) -> None:
    nonce = await world.broker.possession.nonce()
    world.clock.advance(2 * SLOT)
    with pytest.raises(UseDpopNonce):
        await world.broker.possession.prove(await world.prove(nonce=nonce))


async def test_a_proof_for_a_service_does_not_open_the_token_endpoint(world: World) -> None:
    with pytest.raises(InvalidDpopProof, match="htu"):
        await world.broker.possession.prove(await world.prove(url="https://crm.test/tickets/4711"))


async def test_the_token_endpoint_may_have_two_addresses_and_is_one(world: World) -> None:
    """RFC 8705 §5: whoever calls the one for mutual TLS writes that into the proof."""
    store, alias = world.backend.stores.shared, "https://127.0.0.1:8443/oauth/token"
    both = Possession(store=store, nonces=Nonces(store, clock=world.clock), urls=[URL, alias], clock=world.clock)
    proof = await world.prove(url=alias)
    assert await both.prove(proof) == AGENT_KEY.kid
    assert await both.prove(await world.prove()) == AGENT_KEY.kid
    with pytest.raises(InvalidDpopProof, match="used before"):
        await both.prove(proof)
    with pytest.raises(InvalidDpopProof, match="htu"):
        await both.prove(await world.prove(url="https://127.0.0.1:9443/oauth/token"))


async def test_where_there_is_no_such_address_it_is_no_token_endpoint(world: World) -> None:
    with pytest.raises(InvalidDpopProof, match="htu"):
        await world.broker.possession.prove(await world.prove(url="https://127.0.0.1:8443/oauth/token"))


async def test_a_proof_is_taken_once(world: World) -> None:
    proof = await world.prove()
    await world.broker.possession.prove(proof)
    with pytest.raises(InvalidDpopProof, match="used before"):
        await world.broker.possession.prove(proof)


async def test_a_proof_that_one_worker_took_is_refused_by_the_next(world: World, neighbour: World) -> None:
    """Trap 17."""
    proof = await world.prove()
    await world.broker.possession.prove(proof)
    with pytest.raises(InvalidDpopProof, match="used before"):
        await neighbour.broker.possession.prove(proof)


async def test_of_many_who_use_a_proof_at_once_one_is_believed(world: World, neighbour: World) -> None:
    proof = await world.prove()
    workers = [world.broker.possession, neighbour.broker.possession] * 20
    answers = await asyncio.gather(*(worker.prove(proof) for worker in workers), return_exceptions=True)
    assert [type(answer) for answer in answers if isinstance(answer, BrokerError)] == [InvalidDpopProof] * 39
    assert answers.count(AGENT_KEY.kid) == 1


async def test_two_keys_may_choose_the_same_id(world: World) -> None:
    first, second = await call_of(world), await call_of(world, new_key())
    assert await world.broker.possession.prove(written(first, jti="one")) == first.key.kid
    assert await world.broker.possession.prove(written(second, jti="one")) == second.key.kid


async def test_a_proof_stays_used_for_as_long_as_it_could_be_accepted(world: World) -> None:
    """Trap 7: made with a clock that was ahead, it is good for five seconds more."""
    world.clock.hold()
    call = await call_of(world)
    proof = written(call, iat=call.now + proofs.MAX_SKEW)
    await world.broker.possession.prove(proof)
    for _ in range(proofs.MAX_SKEW + proofs.MAX_AGE - 1):
        world.clock.advance(1_000)
        with pytest.raises(InvalidDpopProof, match="used before"):
            await world.broker.possession.prove(proof)
    world.clock.advance(2_000)
    with pytest.raises(InvalidDpopProof, match="too long ago"):
        await world.broker.possession.prove(proof)


async def test_proofs_that_are_late_are_swept_out(world: World) -> None:
    spent = key(shard_of(AGENT_KEY.kid), "proofs")
    for _ in range(5):
        await world.broker.possession.prove(await world.prove())
        world.clock.advance(200_000)
    assert world.backend.client.zcard(spent) == 1


async def test_a_proof_whose_record_would_not_be_kept_is_refused(world: World) -> None:
    """The worker's clock is minutes behind the store's: it would accept what the store has forgotten."""
    proof = await world.prove()
    ahead = int(world.backend.client.get("test:clock:offset") or 0) + 200_000
    world.backend.client.set("test:clock:offset", ahead)
    with pytest.raises(InvalidDpopProof):
        await world.broker.possession.prove(proof)


async def test_without_a_store_nobody_proves_anything(own_world: World) -> None:
    proof = await own_world.prove()
    own_world.backend.client.shutdown(nosave=True)
    with pytest.raises(Unavailable):
        await own_world.broker.possession.prove(proof)
