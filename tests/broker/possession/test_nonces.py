import pytest

from broker.errors import Unavailable
from broker.possession import Nonces
from broker.possession.nonces import SLOT
from broker.store import feed_key
from tests.broker.world import World


@pytest.fixture
def nonces(world: World) -> Nonces:
    return Nonces(world.backend.stores.shared, clock=world.clock)


async def test_a_nonce_is_known_again_for_two_to_four_minutes(world: World, nonces: Nonces) -> None:
    world.clock.advance(SLOT - world.clock.now().wall % SLOT)
    nonce = await nonces.current()
    for later in (0, SLOT - 2_000, 2_000, SLOT - 2_000):
        world.clock.advance(later)
        assert await nonces.knows(nonce)
    world.clock.advance(2_000)
    assert not await nonces.knows(nonce)


async def test_every_worker_knows_the_nonces_of_the_others(nonces: Nonces, neighbour: World) -> None:
    theirs = Nonces(neighbour.backend.stores.shared, clock=neighbour.clock)
    assert await theirs.knows(await nonces.current())
    assert await nonces.knows(await theirs.current())


@pytest.mark.parametrize("nonce", [None, "", "guessed", "é", "\udce9", "x" * 4000], ids=ascii)
async def test_what_was_not_given_out_is_not_known(nonces: Nonces, nonce: str | None) -> None:
    assert not await nonces.knows(nonce)


async def test_a_nonce_of_the_time_to_come_is_not_known(world: World, nonces: Nonces) -> None:
    world.clock.advance(SLOT)
    ahead = await nonces.current()
    world.clock.advance(-SLOT)
    assert not await nonces.knows(ahead)


async def test_a_secret_that_the_store_lost_is_learned_anew(world: World, nonces: Nonces, neighbour: World) -> None:
    """Redis came back empty, and another worker made the secret anew: this one hears of it by the first nonce of that."""
    theirs = Nonces(neighbour.backend.stores.shared, clock=neighbour.clock)
    old = await nonces.current()
    world.backend.client.delete(feed_key("nonces"))
    new = await theirs.current()
    assert await nonces.knows(new)
    assert not await nonces.knows(old)
    assert await nonces.current() == new


async def test_without_a_store_no_nonce_is_known(own_world: World) -> None:
    nonces = Nonces(own_world.backend.stores.shared, clock=own_world.clock)
    own_world.backend.client.shutdown(nosave=True)
    with pytest.raises(Unavailable):
        await nonces.knows("any")
    with pytest.raises(Unavailable):
        await nonces.current()
