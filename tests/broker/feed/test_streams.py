"""Streams: a snapshot that ends where the next message begins, one signature for all who listen, nothing for the wrong key."""

import asyncio
import threading
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from broker.feed import streams
from broker.feed.event import GRACE, NewEvent, new_event
from broker.feed.streams import HEARTBEAT, LEAVING
from scopes import jose, revocations
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Message, Picture, Snapshot
from tests.broker.world import CRM, ISSUER, KB, World
from tests.scopes.clocks import eventually

HOUR = 3_600_000


class Listener:
    """A verifier at the end of a stream: checks every frame with the feed's published keys and applies it."""

    def __init__(self, world: World, audience: str = CRM) -> None:
        self._world = world
        self._audience = audience
        self.frames: list[bytes] = []
        self.messages: list[Message] = []
        self.picture = Picture()
        self._take(world.broker.streams.join(audience, self.frames.append))

    def read(self) -> "Listener":
        """Apply whatever has come."""
        while self.frames:
            self._take(self.frames.pop(0))
        return self

    @property
    def values(self) -> list[str]:
        """What has ended, as this verifier knows it."""
        return [event.value for event in self.read().picture.events()]

    def leave(self) -> None:
        self._world.broker.streams.leave(self._audience, self.frames.append)

    def _take(self, frame: bytes) -> None:
        name, data = taken_apart(frame)
        now = self._world.clock.now()
        if name == "snapshot":
            self.picture = self.picture.adopt(self._as_snapshot(data), now)
        else:
            message = revocations.read_message(data, **self._named)
            self.messages.append(message)
            self.picture = self.picture.apply(message, now)
        assert not self.picture.needs_snapshot, "what came does not begin where this verifier stands"

    def _as_snapshot(self, data: str) -> Snapshot:
        return revocations.read_snapshot(data, **self._named)

    @property
    def _named(self):
        return {"keys": feed_keys(self._world), "issuer": ISSUER, "audience": self._audience}


def feed_keys(world: World) -> KeySet:
    return KeySet.parse(world.broker.keys.feed_jwks, algorithms=TOKEN_ALGORITHMS)


def taken_apart(frame: bytes) -> tuple[str, str]:
    """Read one frame of server-sent events."""
    first, second, *rest = frame.decode().split("\n")
    assert rest == ["", ""]
    return first.removeprefix("event: "), second.removeprefix("data: ")


async def commit(world: World, *values: str, audiences: tuple[str, ...] | None = None, lasting: int = HOUR) -> None:
    now = world.clock.now().wall
    made: Iterable[NewEvent] = [
        new_event("agent", value, now=now, expires=now + lasting, audiences=audiences) for value in values
    ]
    await world.broker.log.append(world.broker.streams.picture.epoch, list(made))
    world.follow()


async def test_a_stream_begins_with_everything_alive_and_goes_on_from_there(world: World) -> None:
    await commit(world, "before")
    listener = Listener(world)
    assert listener.values == ["before"]
    await commit(world, "after")
    assert listener.values == ["before", "after"]
    assert listener.picture.seq == 2


async def test_whoever_joins_between_two_events_misses_none_and_sees_none_twice(world: World) -> None:
    """The snapshot ends where the next message begins."""
    listeners = []
    for number in range(5):
        listeners.append(Listener(world))
        await commit(world, f"agent-{number}")
    everything = [f"agent-{number}" for number in range(5)]
    assert [listener.values for listener in listeners] == [everything] * 5
    assert [len(listener.messages) for listener in listeners] == [5, 4, 3, 2, 1]


async def test_messages_for_one_audience_leave_out_the_others_and_still_chain(world: World) -> None:
    """Numbers belong to the whole log: a filtered stream has gaps and still proves that it is complete (`WIRE.md`)."""
    crm, kb = Listener(world, CRM), Listener(world, KB)
    await commit(world, "for-crm", audiences=(CRM,))
    await commit(world, "for-kb", audiences=(KB,))
    await commit(world, "for-all")
    await commit(world, "for-nobody", audiences=())
    await commit(world, "for-crm-2", audiences=(CRM,))
    assert crm.values == ["for-crm", "for-all", "for-crm-2"]
    assert kb.values == ["for-kb", "for-all"]
    assert [(message.prev.seq, message.seq) for message in crm.messages] == [(0, 1), (1, 3), (3, 5)]
    assert (kb.picture.seq, crm.picture.seq) == (3, 5)


async def test_whoever_joins_a_stream_that_is_behind_the_head_breaks_nobodys_chain(world: World) -> None:
    first = Listener(world, CRM)
    await commit(world, "for-kb", audiences=(KB,))
    second = Listener(world, CRM)
    await commit(world, "for-crm", audiences=(CRM,))
    assert first.values == second.values == ["for-crm"]
    assert first.picture.seq == second.picture.seq == 2


async def test_whoever_joins_after_a_heartbeat_and_something_that_concerns_others_can_go_on_too(world: World) -> None:
    """The snapshot kept for newcomers is too old here, and the stream stands where it ended."""
    first = Listener(world, CRM)
    world.advance(HEARTBEAT)
    await commit(world, "for-kb", audiences=(KB,))
    second = Listener(world, CRM)
    await commit(world, "for-crm", audiences=(CRM,))
    assert first.values == second.values == ["for-crm"]


async def test_a_verifier_of_one_service_learns_nothing_of_the_others(world: World) -> None:
    listener = Listener(world, KB)
    await commit(world, "a-secret-of-crm", audiences=(CRM,))
    world.advance(HEARTBEAT)
    late = Listener(world, KB)
    assert (listener.values, late.values) == ([], [])


async def test_a_second_without_events_is_a_heartbeat_that_moves_to_the_head(world: World) -> None:
    listener = Listener(world, KB)
    await commit(world, "for-crm", audiences=(CRM,))
    assert listener.read().messages == []
    world.advance(HEARTBEAT)
    (heartbeat,) = listener.read().messages
    assert (heartbeat.events, heartbeat.seq) == ((), 1)
    assert listener.picture.as_of == world.broker.streams.picture.as_of


async def test_nothing_is_sent_more_often_than_it_has_to_be(world: World) -> None:
    listener = Listener(world)
    for _ in range(10):
        world.advance(HEARTBEAT // 10)
    assert len(listener.read().messages) <= 2


async def test_a_heartbeat_says_the_stores_time_and_comes_after_the_events_it_vouches_for(world: World) -> None:
    """TRAPS 21: sent before the events it vouches for, or with the time of sending."""
    listener = Listener(world)
    await commit(world, "ended")
    world.advance(HEARTBEAT)
    event, heartbeat = listener.read().messages
    assert [each.value for each in event.events] == ["ended"]
    assert heartbeat.prev.seq == event.seq == heartbeat.seq
    assert event.as_of < heartbeat.as_of == world.broker.streams.picture.as_of


async def test_a_hundred_that_join_within_a_second_cost_one_signature(world: World) -> None:
    """ECDSA signs the same text differently each time, so equal bytes are one signature."""
    await commit(world, "ended")
    frames = {world.broker.streams.join(CRM, print) for _ in range(50)}
    world.advance(HEARTBEAT // 2)
    frames |= {world.broker.streams.join(CRM, print) for _ in range(50)}
    assert len(frames) == 1


async def test_what_a_newcomer_gets_is_never_older_than_a_second(world: World) -> None:
    Listener(world)
    for _ in range(5):
        world.advance(HEARTBEAT)
        late = Listener(world)
        assert late.picture.as_of == world.broker.streams.picture.as_of


async def test_a_newcomer_sees_what_was_committed_a_moment_ago(world: World) -> None:
    """The snapshot kept for others is not given out when something has ended since."""
    Listener(world)
    await commit(world, "ended")
    assert Listener(world).values == ["ended"]


async def test_one_message_is_signed_once_for_all_who_listen(world: World) -> None:
    listeners = [Listener(world) for _ in range(20)]
    await commit(world, "ended")
    assert len({frame for listener in listeners for frame in listener.frames}) == 1


async def test_a_snapshot_asked_for_by_itself_says_what_a_stream_begins_with(world: World) -> None:
    await commit(world, "for-crm", audiences=(CRM,))
    await commit(world, "for-kb", audiences=(KB,))
    text = world.broker.streams.snapshot(CRM)
    snapshot = revocations.read_snapshot(text, keys=feed_keys(world), issuer=ISSUER, audience=CRM)
    assert ([event.value for event in snapshot.events], snapshot.seq) == (["for-crm"], 2)


async def test_events_that_can_hit_nothing_any_more_leave_the_snapshot(world: World) -> None:
    """A revocation index that is never pruned (TRAPS 22)."""
    await commit(world, "over", lasting=1_000)
    await commit(world, "alive")
    world.advance(1_000 + GRACE + 1)
    assert Listener(world).values == ["alive"]


async def test_a_snapshot_and_a_message_are_never_taken_for_each_other(world: World) -> None:
    """A genuine heartbeat served as a snapshot is an empty, fresh, signed state (TRAPS 21a)."""
    frames: list[bytes] = []
    _, snapshot = taken_apart(world.broker.streams.join(CRM, frames.append))
    world.advance(HEARTBEAT)
    _, message = taken_apart(frames[0])
    named = {"keys": feed_keys(world), "issuer": ISSUER, "audience": CRM}
    with pytest.raises(InvalidDocument):
        revocations.read_snapshot(message, **named)
    with pytest.raises(InvalidDocument):
        revocations.read_message(snapshot, **named)


async def test_feed_keys_sign_no_tokens_and_token_keys_no_feed(world: World) -> None:
    """A stolen token key must not be able to blind verifiers (`DESIGN.md` 3.10)."""
    token_keys = KeySet.parse(world.broker.keys.token_jwks, algorithms=TOKEN_ALGORITHMS)
    feed = {jwk["kid"] for jwk in (world.broker.keys.feed.public_jwk,)}
    issued = await world.issue()
    text = world.broker.streams.snapshot(CRM)
    with pytest.raises(InvalidDocument):
        revocations.read_snapshot(text, keys=token_keys, issuer=ISSUER, audience=CRM)
    assert not any(token_keys.get(kid) for kid in feed)
    assert issued.access_token


async def test_a_new_epoch_ends_every_stream(world: World) -> None:
    """Another history cannot be told on from where the last one stood."""
    listeners = [Listener(world, audience) for audience in (CRM, KB, CRM)]
    await commit(world, "of the old epoch")
    old = world.broker.streams.picture.epoch
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)
    world.follow()
    assert [listener.frames[-1] for listener in listeners] == [b""] * 3
    late = Listener(world)
    assert late.picture.epoch > old
    assert late.values == []
    world.advance(HEARTBEAT)
    assert {listener.frames[-1] for listener in listeners} == {b""}


async def test_a_worker_that_stops_says_so_and_ends_every_stream_also_those_that_come_too_late(world: World) -> None:
    listener = Listener(world)
    world.broker.streams.close()
    assert listener.frames == [LEAVING, b""]
    assert taken_apart(LEAVING) == ("leaving", "{}")
    late = Listener(world, KB)
    assert late.frames == [LEAVING, b""]


async def test_a_verifier_of_the_old_epoch_moves_to_the_new_one_by_its_snapshot(world: World) -> None:
    verifier = Listener(world).picture
    for name in world.backend.client.keys("ab:*"):
        world.backend.client.delete(name)
    world.follow()
    text = world.broker.streams.snapshot(CRM)
    snapshot = revocations.read_snapshot(text, keys=feed_keys(world), issuer=ISSUER, audience=CRM)
    assert verifier.adopt(snapshot, world.clock.now()).epoch == world.broker.streams.picture.epoch > verifier.epoch


async def test_who_left_is_told_nothing_and_may_leave_twice(world: World) -> None:
    """A verifier that reconnects every second must not leave a trail."""
    gone, stays = Listener(world), Listener(world)
    gone.leave()
    gone.leave()
    world.broker.streams.leave("https://nobody.test", gone.frames.append)
    await commit(world, "ended")
    assert (gone.frames, stays.values) == ([], ["ended"])


async def test_an_audience_begins_anew_when_its_last_listener_has_left(world: World) -> None:
    first = Listener(world)
    first.leave()
    await commit(world, "meanwhile")
    second = Listener(world)
    await commit(world, "later")
    assert second.values == ["meanwhile", "later"]


async def test_verifiers_that_join_while_events_are_committed_end_up_knowing_all_of_them(world: World) -> None:
    """Two threads meet here: the follower publishes, requests join. One lock keeps snapshot and messages together."""
    listeners: list[Listener] = []
    world.broker.follower.start()
    try:
        for number in range(40):
            await commit_without_following(world, f"agent-{number}")
            listeners.append(await asyncio.to_thread(Listener, world))
        await asyncio.to_thread(eventually, lambda: world.broker.streams.picture.seq == 40)
    finally:
        world.broker.follower.close()
    world.advance(HEARTBEAT)
    assert {len(listener.values) for listener in listeners} == {40}


async def commit_without_following(world: World, value: str) -> None:
    event = new_event("agent", value, now=world.clock.now().wall)
    await world.broker.log.append(world.broker.streams.picture.epoch, [event])


async def test_nobodys_beat_waits_for_the_snapshot_of_a_newcomer(world: World, monkeypatch) -> None:
    """To write and sign a hundred thousand events takes longer than the beat may."""
    signing, may_sign = threading.Event(), threading.Event()

    def slowly(payload: bytes, *, type: str, key) -> str:
        if type == revocations.SNAPSHOT_TYPE:
            signing.set()
            may_sign.wait(10)
        return jose.write(payload, type=type, key=key)

    listener, frames = Listener(world), []
    monkeypatch.setattr(streams, "jose", SimpleNamespace(write=slowly))
    world.advance(HEARTBEAT)
    joining = asyncio.create_task(asyncio.to_thread(world.broker.streams.join, CRM, frames.append))
    await asyncio.to_thread(signing.wait, 10)
    await commit(world, "meanwhile")
    assert listener.values == ["meanwhile"]
    may_sign.set()
    name, _ = taken_apart(await joining)
    assert (name, [taken_apart(frame)[0] for frame in frames]) == ("snapshot", ["message"])


async def test_what_can_end_nothing_any_more_is_dropped_though_nobody_joins(world: World, monkeypatch) -> None:
    """An index that is never pruned grows for ever (TRAPS 22)."""
    monkeypatch.setattr(streams, "_SMALLEST_SWEEP", 4)
    world.broker.streams._sweep_at = 4
    for number in range(40):
        await commit(world, f"agent-{number}", lasting=0)
        world.advance(GRACE + 1)
    assert len(world.broker.streams._live) < 8
