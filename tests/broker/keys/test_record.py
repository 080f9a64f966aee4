"""The record of keys: what is done with a key follows from its times, and two records merge in any order."""

import itertools

import msgspec
import pytest

from broker.keys import Key, KeyRecord
from broker.keys import record as records
from broker.keys.record import ALIVE, PUBLISHED
from scopes.claims import MAX_LIFETIME
from scopes.issuer_keys import REFRESH_INTERVAL


def key(kid: str, activates: int, *, use: str = "token", **changes: object) -> Key:
    made = Key(kid, use, "ES256", {"kid": kid}, "folder", f"private {kid}", prepared=0, activates=activates)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, **changes)


FIRST = KeyRecord("w", (key("a", 0),))


def test_a_key_is_prepared_then_active_then_retired_then_forgotten() -> None:
    record = records.with_new(records.with_new(FIRST, key("b", 100)), key("c", 200))
    states = [record.get("b").state(now) for now in (99, 100, 199, 200)]  # type: ignore[union-attr]
    assert states == ["prepared", "active", "active", "retired"]
    assert record.get("b") in records.pruned(record, 200 + ALIVE - 1).keys
    assert records.pruned(record, 200 + ALIVE).get("b") is None


def test_at_every_moment_one_key_signs() -> None:
    record = records.with_new(FIRST, key("b", 100))
    signing = [record.signing("token", now) for now in (0, 99, 100, 10**15)]
    assert [signs.kid for signs in signing if signs is not None] == ["a", "a", "b", "b"]


def test_a_key_of_the_other_kind_is_left_alone() -> None:
    """A token key never signs the feed (`DESIGN.md` 3.10)."""
    record = records.with_new(FIRST, key("f", 100, use="feed"))
    assert record.get("a") == FIRST.get("a")
    assert record.signing("feed", 99) is None
    assert [each.kid for each in record.published("feed", 0)] == ["f"]


def test_what_verifies_is_published_the_next_key_and_the_one_before_too() -> None:
    record = records.with_new(records.with_new(FIRST, key("b", 100)), key("c", 200))
    assert [each.kid for each in record.published("token", 300)] == ["c", "b", "a"]


def test_a_key_that_is_needed_now_is_the_prepared_one_where_there_is_one() -> None:
    record = records.at_once(records.with_new(FIRST, key("b", 100)), key("c", 50), 50)
    assert record.get("c") is None
    assert record.signing("token", 50) == record.get("b")
    assert records.at_once(FIRST, key("c", 50), 50).signing("token", 50).kid == "c"  # type: ignore[union-attr]


def test_a_revoked_key_signs_nothing_is_not_published_and_has_no_private_part() -> None:
    record = records.revoked(FIRST, "a", 10)
    revoked = record.get("a")
    assert revoked is not None
    assert (revoked.state(10), revoked.private, record.published("token", 10)) == ("revoked", "", [])
    assert record.signing("token", 10) is None


def test_to_activate_a_key_that_is_not_there_changes_nothing() -> None:
    assert records.activated(FIRST, "b", 1) == FIRST


def test_of_a_feed_key_the_public_part_is_known_for_ever_and_not_published() -> None:
    """The configuration in force is signed with it once, and read for as long as it is."""
    record = records.pruned(records.with_new(KeyRecord("w", (key("f", 0, use="feed"),)), key("g", 1, use="feed")), 1 + ALIVE)
    assert [(each.kid, each.private) for each in record.known("feed")] == [("g", "private g"), ("f", "")]
    assert [each.kid for each in record.published("feed", 1 + ALIVE)] == ["g"]


def test_records_merge_to_the_same_in_whatever_order() -> None:
    rotated = records.with_new(FIRST, key("b", 100))
    several = [FIRST, rotated, records.activated(rotated, "b", 50), records.revoked(rotated, "a", 70), KeyRecord("w")]
    for one, two, three in itertools.permutations(several, 3):
        left = records.merged(records.merged(one, two), three)
        right = records.merged(three, records.merged(two, one))
        assert sorted(left.keys, key=lambda each: each.kid) == sorted(right.keys, key=lambda each: each.kid)
        assert records.merged(left, one) == left


def test_what_is_revoked_stays_so_whoever_remembers_it_otherwise() -> None:
    for both in (records.merged(FIRST, records.revoked(FIRST, "a", 9)), records.merged(records.revoked(FIRST, "a", 9), FIRST)):
        assert both == records.revoked(FIRST, "a", 9)


def test_a_record_reads_back_as_it_was_written_and_nothing_else_is_read() -> None:
    record = records.with_new(FIRST, key("b", 100))
    assert records.decode(records.encode(record)) == record
    with pytest.raises(msgspec.MsgspecError):
        records.decode(b'{"wrapping": "w", "keys": [], "more": 1}')


def test_a_key_is_published_longer_than_any_verifier_waits_and_any_token_lives() -> None:
    """TRAPS 5: a key used for signing before anyone could have fetched it."""
    assert PUBLISHED > REFRESH_INTERVAL * 1000
    assert ALIVE > MAX_LIFETIME * 1000
