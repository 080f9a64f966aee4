"""The follower: what a worker knows, how old it is, and what it then refuses to decide."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import Unavailable
from broker.feed.event import NewEvent, new_event
from broker.feed.follower import MAX_AGE
from broker.feed.log import KEYS, arguments_of
from broker.store import feed_key
from scopes.clock import Instant, SystemClock
from scopes.revocations import Picture
from tests.broker.redis_server import RedisServer
from tests.broker.world import Backend, World
from tests.scopes.clocks import eventually

HOUR = 3_600_000
LOG, BEATS = (feed_key(part) for part in ("log", "beats"))


class SkewedClock:
    """A worker whose clock is wrong by some milliseconds."""

    def __init__(self, by: int) -> None:
        self.by = by

    def now(self) -> Instant:
        real = SystemClock().now()
        return Instant(real.wall + self.by, real.boot + self.by)


def picture_of(world: World) -> Picture:
    return world.broker.streams.picture


def time_of(world: World) -> int:
    """Return the store's time, in milliseconds."""
    seconds, microseconds = world.backend.client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def event(world: World, value: str = "support-bot") -> NewEvent:
    return new_event("agent", value, now=world.clock.now().wall)


async def commit(world: World, count: int = 1) -> None:
    made = [event(world, f"agent-{number}") for number in range(count)]
    await world.broker.log.append(picture_of(world).epoch, made)


def known(world: World) -> list[int]:
    return [event.seq for event in picture_of(world).events()]


async def test_every_worker_comes_to_the_same_picture(world: World, neighbour: World) -> None:
    await commit(world, 3)
    await commit(neighbour)
    for worker in (world, neighbour):
        worker.follow()
    pictures = [picture_of(worker) for worker in (world, neighbour)]
    assert len({(picture.epoch, picture.seq, picture.id) for picture in pictures}) == 1
    assert pictures[0].events() == pictures[1].events()
    assert known(world) == [1, 2, 3, 4]


async def test_a_worker_that_starts_late_knows_all_that_is_alive(world: World, neighbour: World) -> None:
    await commit(world, 3)
    world.follow()
    neighbour.broker.follower.catch_up()
    assert known(neighbour) == [1, 2, 3]


def test_a_worker_decides_while_its_picture_is_young_and_not_a_moment_longer(world: World) -> None:
    """`DESIGN.md` 3.6: a worker whose picture is older than one second issues nothing."""
    assert world.broker.follower.standpoint().picture is picture_of(world)
    world.clock.advance(MAX_AGE - 500)
    assert world.broker.follower.is_current()
    world.clock.advance(501)
    assert not world.broker.follower.is_current()
    with pytest.raises(Unavailable) as refused:
        world.broker.follower.standpoint()
    assert refused.value.retry_after == 1


def test_a_worker_that_never_heard_from_the_store_decides_nothing(tmp_path: Path, backend: Backend) -> None:
    assert not World(tmp_path, backend).broker.follower.is_current()


def test_the_time_of_a_picture_is_the_stores(tmp_path: Path, backend: Backend) -> None:
    """Freshness counted from the worker's clock instead of the issuer's time (TRAPS 20): this clock is half a second off."""
    world = World(tmp_path, backend, clock=SkewedClock(500))  # type: ignore[arg-type]
    for _ in range(2):
        before = time_of(world)
        world.follow()
        assert before <= picture_of(world).as_of <= time_of(world)


@pytest.mark.parametrize("by", [-1_500, 1_500])
def test_a_worker_whose_clock_is_more_than_a_second_off_decides_nothing(tmp_path: Path, backend: Backend, by: int) -> None:
    """One of the two clocks is wrong, and nobody knows which (`DESIGN.md` 5)."""
    world = World(tmp_path, backend, clock=SkewedClock(by))  # type: ignore[arg-type]
    world.broker.follower.step()
    assert not world.broker.follower.is_current()


async def test_a_worker_whose_clock_falls_behind_keeps_what_it_knows_and_its_place(world: World) -> None:
    await commit(world)
    world.follow()
    place = picture_of(world)
    world.broker.follower._clock = SkewedClock(-2_000)
    await commit(world)
    world.broker.follower.step()
    world.broker.follower._run_id = ""
    world.broker.follower.step()
    assert known(world) == [1]
    assert picture_of(world).epoch == place.epoch


def during(world: World, monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> None:
    """Have something happen right after the follower's next script ran, before its answer is read."""
    store = world.backend.stores.follower
    run = store.run

    def run_then(*asked: Any) -> Any:
        answer = run(*asked)
        monkeypatch.setattr(store, "run", run)
        then()
        return answer

    monkeypatch.setattr(store, "run", run_then)


def test_a_worker_stopped_after_reading_shows_a_picture_as_old_as_its_reading(world: World, monkeypatch) -> None:
    """Read, then stopped for five seconds, then signed with the present time (TRAPS 21)."""
    during(world, monkeypatch, lambda: world.clock.advance(5_000))
    before = picture_of(world).as_of
    world.follow()
    picture = picture_of(world)
    assert before <= picture.as_of <= time_of(world)
    assert picture.age(world.clock.now()) >= 5_000
    with pytest.raises(Unavailable):
        world.broker.follower.standpoint()


async def test_a_beat_vouches_only_for_what_was_read_with_it(world: World, neighbour: World, monkeypatch) -> None:
    """A heartbeat sent before the events it vouches for (TRAPS 21): the event came after the reading."""
    late, store = event(world), neighbour.backend.stores.follower
    append, asked = store.script("broker.feed", "append"), [picture_of(world).epoch, *arguments_of([late])]
    during(world, monkeypatch, lambda: store.run(append, KEYS, asked))
    world.follow()
    assert (picture_of(world).seq, known(world)) == (0, [])
    world.follow()
    assert (picture_of(world).seq, known(world)) == (1, [1])


async def test_the_time_of_a_picture_never_falls(world: World) -> None:
    world.follow()
    first = picture_of(world).as_of
    world.clock.advance(-700)
    world.follow()
    assert picture_of(world).as_of == first
    world.clock.advance(700)


async def test_a_reading_that_holds_only_part_of_the_log_does_not_make_the_picture_younger(world: World, monkeypatch) -> None:
    """What was read is true, and vouches for no moment at which there already was more (TRAPS 21)."""
    monkeypatch.setattr("broker.feed.reader.LARGEST_READ", 2)
    await commit(world, 5)
    first = picture_of(world).as_of
    world.clock.advance(50)
    seen = []
    for _ in range(3):
        world.follow()
        seen.append((picture_of(world).seq, known(world), picture_of(world).as_of > first))
    assert seen == [(2, [1, 2], False), (4, [1, 2, 3, 4], False), (5, [1, 2, 3, 4, 5], True)]


async def test_a_heartbeat_moves_the_time_and_nothing_else(world: World) -> None:
    before = picture_of(world)
    world.advance(300)
    after = picture_of(world)
    assert (after.epoch, after.seq, after.id) == (before.epoch, before.seq, before.id)
    assert 300 <= after.as_of - before.as_of < 5_000


async def test_a_worker_that_fell_behind_a_trimmed_log_reads_everything_and_the_epoch_stays(world: World) -> None:
    """A trimmed log is no loss: the live set still holds whatever matters."""
    await commit(world, 3)
    world.follow()
    epoch = picture_of(world).epoch
    await commit(world, 4)
    world.backend.client.xtrim(LOG, maxlen=1, approximate=False)
    world.follow()
    assert (picture_of(world).epoch, known(world)) == (epoch, [1, 2, 3, 4, 5, 6, 7])


async def test_a_worker_at_the_start_of_an_epoch_misses_nothing_of_a_trimmed_log(world: World) -> None:
    """It stood at nought, where the log never has an entry, so that what was trimmed after it could pass unseen."""
    epoch = picture_of(world).epoch
    assert picture_of(world).seq == 0
    await commit(world, 5)
    world.backend.client.xtrim(LOG, maxlen=2, approximate=False)
    world.follow()
    assert (picture_of(world).epoch, known(world)) == (epoch, [1, 2, 3, 4, 5])


async def test_a_worker_whose_own_place_is_the_last_before_the_trimmed_part_goes_on(world: World) -> None:
    await commit(world, 3)
    world.follow()
    await commit(world, 2)
    world.backend.client.xtrim(LOG, maxlen=2, approximate=False)
    world.follow()
    assert known(world) == [1, 2, 3, 4, 5]


async def test_every_worker_writes_its_beat_and_the_dead_are_swept_out(world: World, neighbour: World) -> None:
    world.follow()
    neighbour.follow()
    assert world.backend.client.zcard(BEATS) == 2
    world.clock.advance(61_000)
    world.follow()
    assert world.backend.client.zcard(BEATS) == 1


async def test_an_event_reaches_a_worker_without_waiting_for_its_beat(world: World, neighbour: World) -> None:
    """The follower's thread waits in the store, which tells it at once."""
    world.broker.follower.start()
    try:
        eventually(world.broker.follower.is_current)
        await commit(neighbour)
        eventually(lambda: picture_of(world).seq == 1)
    finally:
        world.broker.follower.close()
    assert known(world) == [1]


def test_a_follower_in_its_thread_stays_current_until_it_is_closed(world: World) -> None:
    world.broker.follower.start()
    first = picture_of(world).as_of
    eventually(lambda: picture_of(world).as_of > first and world.broker.follower.is_current())
    world.broker.follower.close()
    world.clock.advance(MAX_AGE + 1)
    assert not world.broker.follower.is_current()


def test_a_store_that_cannot_be_read_leaves_the_picture_to_age_and_is_asked_again(
    own_world: World, redis_server: RedisServer
) -> None:
    """A heartbeat sent although the store could not be read (TRAPS 21)."""
    follower = own_world.broker.follower
    before = picture_of(own_world)
    redis_server.kill()
    assert follower.step() > 0
    assert picture_of(own_world) is before
    own_world.clock._offset += MAX_AGE + 1
    with pytest.raises(Unavailable):
        follower.standpoint()


def test_a_decision_begun_while_the_store_was_away_names_no_life_of_it(own_world: World, redis_server: RedisServer) -> None:
    """So that it can never pass for one taken in the life that follows."""
    redis_server.kill()
    own_world.broker.follower.step()
    assert own_world.broker.follower.standpoint().run_id == ""
