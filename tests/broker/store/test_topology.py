"""Which master owns which slot, as a node tells it."""

import pytest
import redis

from broker.store import info, topology
from broker.store.command import FEED
from broker.store.shards import key

ASKED = ("asked", 1)
WHOLE = [[0, 8191, [b"a", 1, b"id-a"]], [8192, 16383, [b"b", 2, b"id-b"], [b"replica", 3, b"id-c"]]]


def test_every_key_has_its_owner_and_the_feeds_comes_first() -> None:
    told = topology.read(WHOLE, ASKED)
    assert set(told.masters) == {("a", 1), ("b", 2)}
    assert told.masters[0] == told.owner(FEED)
    assert {told.owner(key(shard, "due")) for shard in range(64)} == set(told.masters)


def test_a_node_that_does_not_know_its_own_name_is_the_one_that_was_asked() -> None:
    assert topology.read([[0, 16383, [b"", 1, b"id-a"]]], ASKED).masters == (("asked", 1),)


@pytest.mark.parametrize("told", [[], [[0, 16382, [b"a", 1, b"id-a"]]]])
def test_a_cluster_with_a_slot_that_nobody_owns_is_down(told: list[object]) -> None:
    with pytest.raises(redis.exceptions.ClusterDownError):
        topology.read(told, ASKED)


def test_an_error_is_no_topology() -> None:
    with pytest.raises(redis.exceptions.ResponseError):
        topology.read(redis.exceptions.ResponseError("ERR no cluster"), ASKED)


def test_a_server_that_follows_another_has_no_life_to_believe_in() -> None:
    """Freshness read from a replica is not the store's (TRAPS 21)."""
    with pytest.raises(redis.exceptions.ConnectionError):
        info.life(b"role:slave\r\nrun_id:a\r\n")


def test_the_life_of_a_cluster_is_that_of_every_master() -> None:
    life = topology.life_of(["a", "b"])
    assert life == topology.life_of(["b", "a"]) != topology.life_of(["a", "c"])
    assert topology.life_of(["a", ""]) == topology.life_of([]) == ""
