"""Rotation: prepared, published, activated, retired, on a schedule or at once, by all workers and by none twice."""

import asyncio
import base64
import json
import os

import msgspec
import pytest

from broker.errors import InvalidRequest, NotFound, Unavailable
from broker.keys import MIRROR, Use
from broker.keys.record import ALIVE, PUBLISHED
from scopes.claims import TOKEN_TYPE, decode
from scopes.jose import read
from scopes.revocations import revocable
from tests.broker.recorded import recorded
from tests.broker.world import ADMIN, CRM, Backend, World

USES: tuple[Use, ...] = ("token", "feed")
DAY = 24 * 3600 * 1000
LIFETIME = 30 * DAY


def signing(world: World, use: Use) -> str:
    return getattr(world.broker.keys, use).kid


def published(world: World, use: Use) -> list[str]:
    document = world.broker.keys.token_jwks if use == "token" else world.broker.keys.feed_jwks
    return [jwk["kid"] for jwk in json.loads(document)["keys"]]


async def days_later(world: World, milliseconds: int) -> None:
    world.advance(milliseconds)
    await world.broker.rotation.keep()


async def test_keys_of_an_earlier_version_are_as_old_as_their_files(world: World) -> None:
    before = world.broker.keys.record
    await world.broker.rotation.keep()
    assert world.broker.keys.record == before
    for name in ("token.jwk", "feed.jwk"):
        os.utime(world.folder / "keys" / name, (1, 1))
    (world.folder / "keys" / MIRROR).unlink()
    world.backend.client.flushall()
    old = World(world.folder, world.backend, clock=world.clock)
    old.follow()
    await old.broker.rotation.keep()
    for use in USES:
        assert signing(old, use) == signing(world, use)
        assert len(published(old, use)) == 2


@pytest.mark.parametrize("use", USES)
async def test_a_key_is_published_before_it_signs_and_after_it_has_signed(world: World, use: Use) -> None:
    """TRAPS 5: not used for signing before everybody could have fetched it."""
    old = signing(world, use)
    await days_later(world, LIFETIME - PUBLISHED - 60_000)
    assert published(world, use)[0] == old
    await days_later(world, 60_000)
    new = published(world, use)[0]
    assert (new != old, signing(world, use)) == (True, old)
    await days_later(world, PUBLISHED)
    assert signing(world, use) == new
    await days_later(world, ALIVE - 10_000)
    assert old in published(world, use)
    await days_later(world, 20_000)
    assert old not in published(world, use)
    known = {key.kid: key.private for key in world.broker.keys.record.keys}
    assert known.get(old) == (None if use == "token" else "")


async def test_all_replicas_may_rotate_at_once_and_one_key_comes_of_it(world: World, neighbour: World) -> None:
    world.advance(LIFETIME)
    neighbour.follow()
    await asyncio.gather(*(each.broker.rotation.keep() for each in (world, neighbour, world, neighbour)))
    for each in (world, neighbour):
        each.follow()
        prepared = [key.use for key in each.broker.keys.record.keys if key.state(each.clock.now().wall) == "prepared"]
        assert sorted(prepared) == ["feed", "token"]
    assert world.broker.keys.record == neighbour.broker.keys.record


async def test_without_a_lifetime_keys_stay(tmp_path, backend: Backend) -> None:
    world = World(tmp_path, backend, changes={"key_lifetime": 0})
    world.follow()
    before = world.broker.keys.record
    await days_later(world, 100 * DAY)
    assert world.broker.keys.record == before


async def test_to_rotate_twice_is_to_rotate_once(world: World) -> None:
    one = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    assert await world.broker.rotation.rotate("token", "a drill", ADMIN) == one
    assert one.state(world.clock.now().wall) == "prepared"


async def test_a_key_that_is_prepared_can_be_made_to_sign_at_once(world: World) -> None:
    prepared = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    activated = await world.broker.rotation.rotate("token", "no time to wait", ADMIN, at_once=True)
    assert activated.kid == prepared.kid == signing(world, "token")


async def test_who_rotated_and_why_is_recorded(world: World) -> None:
    key = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    record = (await recorded(world))[-1].record
    assert (record.kind, record.operator, record.selector, record.said) == (
        "key.prepared",
        "admin",
        f"key:{key.kid}",
        "a drill",
    )


@pytest.mark.parametrize("reason", ["", "x" * 501])
async def test_a_rotation_has_a_reason(world: World, reason: str) -> None:
    before = world.broker.keys.record
    for refused in (world.broker.rotation.rotate("token", reason, ADMIN), world.broker.rotation.replace("x", reason, ADMIN)):
        with pytest.raises(InvalidRequest):
            await refused
    assert world.broker.keys.record == before


async def test_a_stolen_token_key_is_replaced_first_and_then_ends_what_it_signed(world: World) -> None:
    """TRAPS 6: not a cut-off in time, for the thief writes the times."""
    stolen, token = signing(world, "token"), await world.issue()
    replaced = await world.broker.rotation.replace(stolen, "stolen", ADMIN)
    world.follow()
    assert replaced.key.kid == signing(world, "token") != stolen
    assert published(world, "token") == [replaced.key.kid]
    claims = decode(read(token.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    picture = world.broker.streams.picture
    assert picture.ended_by(revocable(*claims, stolen)) is not None
    assert picture.ended_by(revocable(*claims, replaced.key.kid)) is None
    assert await world.issue()
    kinds = [entry.record.kind for entry in await recorded(world) if entry.record.kind.startswith(("key", "revocation"))]
    assert sorted(kinds) == ["key.prepared", "key.revoked", "revocation"]


async def test_a_revoked_key_is_replaced_without_anybody_asking(world: World, neighbour: World) -> None:
    """`broker revoke --key` alone must not leave a broker that answers 503 for ever."""
    stolen = signing(world, "token")
    await world.revoke(key=stolen)
    world.follow()
    neighbour.follow()
    with pytest.raises(Unavailable, match="was revoked"):
        await world.issue()
    await asyncio.gather(world.broker.rotation.keep(), neighbour.broker.rotation.keep())
    for each in (world, neighbour):
        each.follow()
        assert await each.issue()
        assert stolen not in published(each, "token")
    assert signing(world, "token") == signing(neighbour, "token")


async def test_a_key_that_is_revoked_before_its_turn_is_followed_by_another_at_its_turn(world: World) -> None:
    prepared = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    old = signing(world, "token")
    await world.broker.rotation.replace(prepared.kid, "seen by somebody", ADMIN)
    assert signing(world, "token") == old
    world.advance(PUBLISHED)
    assert signing(world, "token") not in {old, prepared.kid}


async def test_a_retired_key_can_be_revoked_and_the_present_one_goes_on(world: World) -> None:
    old = signing(world, "token")
    now = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    replaced = await world.broker.rotation.replace(old, "found in a backup", ADMIN)
    assert (replaced.key.kid, signing(world, "token")) == (now.kid, now.kid)
    assert published(world, "token") == [now.kid]


async def test_a_stolen_feed_key_is_replaced_and_ends_no_token(world: World) -> None:
    stolen, token = signing(world, "feed"), signing(world, "token")
    replaced = await world.broker.rotation.replace(stolen, "stolen", ADMIN)
    assert replaced.revocation is None
    assert published(world, "feed") == [signing(world, "feed")] != [stolen]
    assert signing(world, "token") == token


async def test_what_is_no_key_cannot_be_replaced(world: World) -> None:
    with pytest.raises(NotFound):
        await world.broker.rotation.replace("nobody's", "a drill", ADMIN)


async def test_streams_end_when_the_feed_has_another_key_and_begin_again_with_it(world: World) -> None:
    """A verifier fetches the keys before each stream, so it meets none that it could not know."""
    frames: list[bytes] = []
    first = world.broker.streams.join(CRM, frames.append)
    rotated = await world.broker.rotation.rotate("feed", "a drill", ADMIN)
    world.advance(PUBLISHED)
    assert [frame.split(b"\n")[0] for frame in frames][-2:] == [b"event: leaving", b""]
    again = world.broker.streams.join(CRM, frames.append)
    assert (kid_of(again), kid_of(first) == rotated.kid) == (rotated.kid, False)


async def test_a_worker_that_finds_no_active_key_has_the_prepared_one_sign(world: World) -> None:
    prepared = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    keys = world.broker.keys
    now = world.clock.now().wall
    retired = [
        msgspec.structs.replace(key, retires=now) if key.use == "token" and key.kid != prepared.kid else key
        for key in keys.record.keys
    ]
    await keys.change(lambda record: msgspec.structs.replace(record, keys=tuple(retired)))
    with pytest.raises(Unavailable, match="no token key"):
        _ = keys.token
    await world.broker.rotation.keep()
    assert signing(world, "token") == prepared.kid


def kid_of(frame: bytes) -> str:
    header = frame.split(b"data: ")[1].split(b".")[0]
    return json.loads(base64.urlsafe_b64decode(header + b"=="))["kid"]


async def test_a_configuration_is_believed_as_long_as_it_is_in_force_whatever_became_of_its_key(world: World) -> None:
    """It is signed once with a key of the feed, and read by every worker that starts."""
    await world.broker.rotation.rotate("feed", "a drill", ADMIN, at_once=True)
    await days_later(world, ALIVE + 1)
    assert len(published(world, "feed")) == 1
    assert world.broker.adoption.is_believed


async def test_a_configuration_that_a_stolen_key_signed_is_signed_anew_by_activating_it_again(world: World) -> None:
    await world.broker.rotation.replace(signing(world, "feed"), "stolen", ADMIN)
    assert not world.broker.adoption.is_believed
    content = world.broker.adoption.content
    assert content is not None
    await world.broker.activation._put_into_force(content, said="its key was stolen", by="admin")
    world.follow()
    assert world.broker.adoption.is_believed
