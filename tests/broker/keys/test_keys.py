"""The keys of one worker: one record for all, taken up from the store, given back to one that was lost."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from broker import keys as rooms
from broker.errors import Unavailable
from broker.keys import MIRROR, FolderCustody, KeyFolder
from broker.keys import record as records
from broker.keys.keys import KEY, Keys
from tests.broker.world import ADMIN, Backend, World

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "k"}


def test_each_key_set_publishes_its_own_keys_and_nothing_private(world: World) -> None:
    keys = world.broker.keys
    for document, kid in ((keys.token_jwks, keys.token.kid), (keys.feed_jwks, keys.feed.kid)):
        (jwk,) = json.loads(document)["keys"]
        assert (jwk["kid"], jwk["use"]) == (kid, "sig")
        assert not PRIVATE & jwk.keys()


def test_whoever_reads_the_store_reads_no_private_part(world: World) -> None:
    private = json.loads((world.folder / "keys" / "token.jwk").read_text())["d"]
    stored = world.backend.client.get(KEY)
    assert private.encode() not in stored
    assert b'"d"' not in stored


def test_a_worker_that_has_not_read_the_record_signs_nothing(tmp_path: Path, backend: Backend) -> None:
    made = World(tmp_path, backend)
    for use in ("token", "feed"):
        with pytest.raises(Unavailable, match="not been read"):
            getattr(made.broker.keys, use)


async def test_all_workers_sign_with_the_same_key_after_one_beat(world: World, neighbour: World) -> None:
    old = world.broker.keys.token.kid
    rotated = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    assert neighbour.broker.keys.token.kid == old
    neighbour.follow()
    assert world.broker.keys.token.kid == neighbour.broker.keys.token.kid == rotated.kid != old


async def test_a_store_that_lost_the_record_gets_it_back_and_no_key_changes(world: World) -> None:
    rotated = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    before = world.broker.keys.record
    world.backend.client.flushall()
    world.follow()
    assert world.broker.keys.record == before
    assert world.broker.keys.token.kid == rotated.kid
    assert records.decode(world.backend.client.get(KEY)) == before


async def test_a_worker_that_starts_with_the_same_folder_after_a_loss_has_the_same_keys(world: World) -> None:
    rotated = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    world.backend.client.flushall()
    fresh = World(world.folder, world.backend, clock=world.clock)
    fresh.follow()
    assert fresh.broker.keys.token.kid == rotated.kid


async def test_a_store_restored_from_an_old_copy_gets_what_it_forgot(world: World) -> None:
    old = world.backend.client.get(KEY)
    rotated = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    world.backend.client.set(KEY, old)
    world.follow()
    assert world.broker.keys.token.kid == rotated.kid
    assert records.decode(world.backend.client.get(KEY)).get(rotated.kid) is not None


async def test_what_two_change_at_the_same_time_is_both_done(world: World, neighbour: World) -> None:
    token = await world.broker.rotation.rotate("token", "a drill", ADMIN)
    feed = await neighbour.broker.rotation.rotate("feed", "a drill", ADMIN)
    for each in (world, neighbour):
        each.follow()
        assert {token.kid, feed.kid} < {key.kid for key in each.broker.keys.record.keys}


@pytest.mark.parametrize("what", ["another wrapping key", "nonsense"])
async def test_a_record_that_is_not_this_folders_is_left_alone_and_nothing_is_signed(
    world: World, tmp_path: Path, what: str
) -> None:
    """A replica with keys of its own would issue tokens that no verifier of the others knows."""
    rooms.create(tmp_path / "other")
    strange = records.encode(KeyFolder.load(tmp_path / "other").record) if what != "nonsense" else b"nonsense"
    mine = world.backend.client.get(KEY)
    world.backend.client.set(KEY, strange)
    world.follow()
    with pytest.raises(Unavailable, match="not those of this"):
        _ = world.broker.keys.token
    with pytest.raises(Unavailable):
        await world.broker.rotation.rotate("token", "a drill", ADMIN)
    assert world.backend.client.get(KEY) == strange
    world.backend.client.set(KEY, mine)
    world.follow()
    assert world.broker.keys.token


async def test_a_change_that_meets_a_strange_record_is_refused(world: World, tmp_path: Path) -> None:
    world.backend.client.set(KEY, b"nonsense")
    with pytest.raises(Unavailable):
        await world.broker.rotation.rotate("token", "a drill", ADMIN)
    assert world.backend.client.get(KEY) == b"nonsense"


async def test_a_change_that_always_comes_too_late_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.broker.keys, "_lost_to", lambda _: None)
    world.backend.client.set(KEY, world.backend.client.get(KEY) + b" ")
    with pytest.raises(Unavailable, match="at the same time"):
        await world.broker.rotation.rotate("token", "a drill", ADMIN)


async def test_a_folder_that_cannot_be_written_stops_no_rotation_and_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.broker.configuration.keys, "write", full)
    rotated = await world.broker.rotation.rotate("token", "a drill", ADMIN, at_once=True)
    assert world.broker.keys.token.kid == rotated.kid
    assert "cannot be mirrored" in caplog.text


def test_a_key_that_is_kept_where_this_worker_cannot_look_signs_nothing(world: World) -> None:
    (world.folder / "keys" / MIRROR).unlink()
    folder = KeyFolder.load(world.folder / "keys")
    custody = FolderCustody(folder.wrapping)
    custody.name = "elsewhere"  # type: ignore[misc]
    stores = world.backend.stores
    keys = Keys(folder, custodies=[custody], store=stores.shared, follower=stores.follower, clock=world.clock)
    keys.catch_up()
    with pytest.raises(Unavailable, match="not configured"):
        _ = keys.token
    keys.close()


def test_a_private_part_put_in_the_place_of_another_is_refused(world: World) -> None:
    """Each wrapped key is bound to its use and id: whoever writes the store cannot have the feed signed with a token key."""
    record = world.broker.keys.record
    token, feed = (next(key for key in record.keys if key.use == use) for use in ("token", "feed"))
    custody = FolderCustody(world.broker.configuration.keys.wrapping)
    with pytest.raises(Unavailable, match="damaged"):
        custody.signer(msgspec.structs.replace(feed, private=token.private))


def test_the_record_in_a_copied_folder_is_the_same(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.folder / "keys", tmp_path / "copy")
    assert KeyFolder.load(tmp_path / "copy").record == world.broker.keys.record
