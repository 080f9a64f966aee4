"""Where things are kept: everything of one agent in one slot, and its shard readable from every id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store import feed_key, key, repeatable_id, shard_of, shard_of_id, sharded_id
from broker.store.shards import SHARDS

NOW = 1_795_318_537_000


@given(st.text())
def test_every_name_has_a_shard(name):
    assert 0 <= shard_of(name) < SHARDS


def test_a_name_keeps_its_shard_for_ever():
    """What is stored under it would be lost otherwise."""
    assert [shard_of(name) for name in ("support-bot", "other-bot", "admin", "")] == [6, 59, 21, 20]


@given(st.integers(0, SHARDS - 1))
def test_an_id_carries_its_shard(shard):
    assert shard_of_id(sharded_id("lse_", shard=shard, now=NOW), "lse_") == shard


def test_two_ids_of_the_same_moment_differ():
    assert len({sharded_id("tsk_", shard=7, now=NOW) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "id",
    [
        "",
        "lse_",
        "lse_nonsense",
        "tsk_01JE000000000000000000000",
        "lse_01JE0000000000000000000064",
        "lse_01JE0000000000000000000099",
        "lse_01JE00000000000000000000AA",
        "lse_01JE0000000000000000000007 ",
        "lse_01JE0000000000000000000007\n",
        "lse_01je0000000000000000000007",
        "tsk_01JE0000000000000000000007",
        "lse_01JE00000000000000000000٠٧",
        "lse_" + "0" * 300,
    ],
)
def test_what_is_no_id_of_the_kind_has_no_shard(id):
    """Ids come from callers: whatever is not exactly one leads to no key of the store."""
    assert shard_of_id(id, "lse_") is None


def test_keys_of_a_shard_and_of_the_feed_are_each_in_one_slot():
    """Redis Cluster puts everything with the same text in braces into one slot, so that one script may change it."""
    assert key(7, "task", "tsk_1") == "ab:{s07}:task:tsk_1"
    assert feed_key("log") == "ab:{feed}:log"


def test_all_shards_have_a_name_in_the_digits_of_an_id():
    assert SHARDS <= 100


@given(st.integers(0, SHARDS - 1), st.binary())
def test_an_id_made_from_a_seed_is_always_the_same_and_carries_its_shard(shard, seed):
    made = repeatable_id("lse_", shard=shard, seed=seed)
    assert made == repeatable_id("lse_", shard=shard, seed=seed)
    assert shard_of_id(made, "lse_") == shard


def test_ids_of_different_seeds_differ():
    assert len({repeatable_id("lse_", shard=7, seed=b"%d" % number) for number in range(1_000)}) == 1_000
