"""`broker doctor`: what the live store is, and what to do next."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from broker import app, settings
from broker.app import Broker
from broker.cli import refusals
from broker.feed.log import ACTIVE
from broker.store import examination
from broker.store.examination import Finding, examine
from scopes.clock import SystemClock
from tests.broker.cli.served import make
from tests.broker.cli.typed import run
from tests.broker.redis_server import RedisServer
from tests.broker.world import ISSUER, World, redis_backend
from tests.scopes.clocks import MovableClock


@pytest.fixture
def folder(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that names the test's own server."""
    made = tmp_path / "broker"
    make(made)
    monkeypatch.setenv("BROKER_REDIS_URL", redis_server.url)
    return made


def doctor(folder: Path, *options: str):
    return run("doctor", "--config", str(folder / "broker.toml"), *options)


def findings(folder: Path, code: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return what is found, by subject."""
    done = doctor(folder, "--json")
    assert done.code == code, done.err
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in done.document["findings"]:
        found.setdefault(finding["subject"], []).append(finding)
    return found


def ratings(folder: Path, subject: str, code: int = 0) -> list[str]:
    return [finding["rating"] for finding in findings(folder, code)[subject]]


def test_a_server_that_is_fit_has_no_problem_and_every_subject_is_looked_at(folder: Path) -> None:
    done = doctor(folder)
    assert done.code == 0
    subjects = ("keys", "server", "memory", "persistence", "replicas", "clock", "latency", "epoch", "workers")
    assert all(subject in done.out for subject in subjects)
    assert "problem" not in done.out


def test_programs_are_told_the_same_with_the_worst_rating(folder: Path, redis_server: RedisServer) -> None:
    assert doctor(folder, "--json").document["rating"] == "warning"
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert doctor(folder, "--json").document["rating"] == "problem"


def test_a_server_that_evicts_is_a_problem(folder: Path, redis_server: RedisServer) -> None:
    redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert ratings(folder, "server", refusals.REFUSED) == ["problem"]
    assert "noeviction" in doctor(folder).out


def test_memory_is_rated_by_what_is_left(folder: Path, redis_server: RedisServer) -> None:
    assert "no limit" in findings(folder)["memory"][0]["found"]
    used = int(redis_server.call("INFO", "memory")["used_memory"])
    redis_server.call("CONFIG", "SET", "maxmemory", used * 10)
    assert ratings(folder, "memory") == ["ok"]
    redis_server.call("CONFIG", "SET", "maxmemory", int(used * 1.05))
    assert ratings(folder, "memory", refusals.REFUSED) == ["problem"]


@pytest.mark.parametrize(
    ("settings", "rating", "said"),
    [
        ({}, "warning", "none"),
        ({"save": "3600 1"}, "warning", "snapshots (3600 1)"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "ok", "everysec"),
        ({"appendonly": "yes", "appendfsync": "always"}, "ok", "no audit record"),
        ({"appendonly": "yes", "appendfsync": "no"}, "warning", "system"),
    ],
)
def test_persistence_is_said_as_the_guarantee_it_gives(
    folder: Path, redis_server: RedisServer, settings: dict[str, str], rating: str, said: str
) -> None:
    for name, value in settings.items():
        redis_server.call("CONFIG", "SET", name, value)
    finding = findings(folder)["persistence"][0]
    assert finding["rating"] == rating
    assert said in finding["found"]


def test_replicas_are_compared_with_what_is_required(
    folder: Path, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = RedisServer(tmp_path / "replica")
    replica.follow(redis_server)
    assert "promotion" in findings(folder)["replicas"][0]["advice"]
    monkeypatch.setenv("BROKER_REPLICAS_REQUIRED", "1")
    assert ratings(folder, "replicas") == ["ok", "warning"]
    redis_server.call("CONFIG", "SET", "min-replicas-to-write", 1)
    assert ratings(folder, "replicas") == ["ok"]
    replica.end()
    monkeypatch.setenv("BROKER_REPLICAS_REQUIRED", "2")
    assert "problem" in ratings(folder, "replicas", refusals.REFUSED)


async def test_the_epoch_and_the_workers_are_found(
    folder: Path, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_ISSUER", ISSUER)
    assert [ratings(folder, subject) for subject in ("epoch", "workers")] == [["warning"], ["warning"]]
    backend = redis_backend(redis_server.url)
    shutil.copytree(folder / "keys", tmp_path / "world" / "keys")
    world = World(tmp_path / "world", backend)
    world.follow()
    world.follow()
    found = findings(folder)
    assert found["epoch"][0]["found"] == world.broker.streams.picture.epoch
    assert found["workers"][0]["found"] == "1 beating"
    redis_server.call("HSET", "ab:{feed}:epoch", "run_id", "another")
    assert ratings(folder, "epoch") == ["warning"]
    await backend.close()


async def test_what_is_in_force_is_compared_with_the_files_and_never_believed_unsigned(
    folder: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_ISSUER", ISSUER)
    assert findings(folder)["configuration"][0]["found"] == "none yet"
    backend = redis_backend(redis_server.url)
    configured = app.configure(settings.load(folder / "broker.toml"))
    Broker(configured, backend.stores, clock=SystemClock()).follower.catch_up()
    (found,) = findings(folder)["configuration"]
    assert (found["rating"], configured.own.digest in found["found"]) == ("ok", True)
    (folder / "policies" / "more.cedar").write_text('@id("more") forbid (principal is Agent, action, resource);')
    (found,) = findings(folder)["configuration"]
    assert (found["rating"], "broker activate" in found["advice"]) == ("warning", True)
    (folder / "policies" / "more.cedar").write_text("permit")
    (found,) = findings(folder, code=1)["files"]
    assert str(folder / "policies" / "more.cedar") in found["found"]
    (folder / "policies" / "more.cedar").unlink()
    for change in (("HSET", ACTIVE, "digest", "another"), ("HDEL", ACTIVE, "text")):
        redis_server.call(*change)
        assert ratings(folder, "configuration", code=1) == ["problem"]
    await backend.close()


def test_a_clock_that_is_far_and_a_round_trip_that_is_long_are_found(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis_backend(redis_server.url).client
    wrong = MovableClock(wall=time.time_ns() // 1_000_000 - 5_000)
    assert rating(examine(client, replicas_required=0, clock=wrong), "clock") == "problem"
    monkeypatch.setattr(examination, "SLOW", -1)
    assert rating(examine(client, replicas_required=0, clock=SystemClock()), "latency") == "warning"
    client.close()


def rating(found: list[Finding], subject: str) -> str:
    return next(finding.rating for finding in found if finding.subject == subject)


def test_a_disk_that_failed_is_a_problem(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis_backend(redis_server.url).client
    told = dict(client.info())
    monkeypatch.setattr(client, "info", lambda *_: {**told, "rdb_last_bgsave_status": "err"})
    assert "problem" in [finding.rating for finding in examine(client, replicas_required=0, clock=SystemClock())]
    client.close()


def test_a_user_that_may_not_read_the_servers_settings_is_told_the_rest(
    folder: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.call("ACL", "SETUSER", "broker", "on", ">s3cret", "~*", "+@all", "-config")
    monkeypatch.setenv("BROKER_REDIS_URL", redis_server.url.replace("redis://", "redis://broker:s3cret@"))
    assert ratings(folder, "server") == ["ok"]


def test_a_key_folder_that_is_open_to_others_is_a_problem(folder: Path) -> None:
    (folder / "keys").chmod(0o750)
    assert ratings(folder, "keys", refusals.REFUSED) == ["problem"]


def test_every_bundle_is_read_as_a_worker_reads_it(folder: Path) -> None:
    (finding,) = findings(folder)["bundle of development.test"]
    assert finding["rating"] == "ok"
    assert "1 for JWT-SVIDs, 0 for X.509-SVIDs" in finding["found"]


def test_a_bundle_that_cannot_be_read_is_a_problem(folder: Path) -> None:
    file = folder / "broker.toml"
    far = 'trust_domain = "far.test"\nbundle_endpoint = "http://127.0.0.1:1/"\nallow_private_addresses = true\n'
    file.write_text(f"{file.read_text()}\n[[trust.spiffe]]\n{far}")
    (finding,) = findings(folder, refusals.REFUSED)["bundle of far.test"]
    assert finding["rating"] == "problem"
    assert finding["found"].startswith("http://127.0.0.1:1/: [Errno 111]")


def test_a_store_that_does_not_answer_is_unreachable(folder: Path, redis_server: RedisServer) -> None:
    redis_server.kill()
    assert "does not answer" in str(findings(folder, refusals.UNREACHABLE))


def test_a_store_that_wants_another_password_is_said_so_without_it(
    folder: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.call("CONFIG", "SET", "requirepass", "a-secret")
    monkeypatch.setenv("BROKER_REDIS_URL", redis_server.url.replace("redis://", "redis://:other-secret@"))
    done = doctor(folder)
    assert done.code == refusals.USAGE
    assert "refuses the broker" in done.err
    assert "secret" not in done.err + done.out


def test_an_embedded_store_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BROKER_REDIS_URL")
    assert ratings(folder, "store") == ["warning"]
