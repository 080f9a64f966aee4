"""What a Redis server has to be before anything is trusted to it."""

import pytest

from broker.errors import ConfigurationError, Unavailable
from broker.store import preconditions
from tests.broker.redis_server import RedisServer, free_port


def problem(server: RedisServer) -> str:
    with pytest.raises(ConfigurationError) as refused:
        preconditions.check(server.url)
    return str(refused.value)


def test_a_master_that_evicts_nothing_will_do(redis_server: RedisServer) -> None:
    assert preconditions.check(redis_server.url) is None


def test_a_server_that_may_forget_a_revocation_is_refused(redis_server: RedisServer) -> None:
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in problem(redis_server)


def test_a_replica_is_refused(redis_server: RedisServer) -> None:
    """Freshness read from a replica is not the store's (TRAPS 21)."""
    redis_server.call("REPLICAOF", "127.0.0.1", free_port())
    assert "replica" in problem(redis_server)


def test_a_server_that_wants_a_password_is_refused_without_a_word_of_it(redis_server: RedisServer) -> None:
    redis_server.call("CONFIG", "SET", "requirepass", "a-secret")
    with pytest.raises(ConfigurationError) as refused:
        preconditions.check(redis_server.url.replace("redis://", "redis://:another-secret@"))
    assert "secret" not in str(refused.value)


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        preconditions.check("nonsense")


def test_a_server_that_is_not_there_may_still_come(redis_server: RedisServer) -> None:
    redis_server.kill()
    with pytest.raises(Unavailable):
        preconditions.check(redis_server.url)


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7", "unknown"])
def test_a_server_too_old_to_revoke_when_it_is_full_is_refused(version: str) -> None:
    told = {"redis_version": version, "role": "master", "maxmemory_policy": "noeviction"}
    (problem,) = preconditions.unfit(told)
    assert version in problem
