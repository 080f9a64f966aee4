"""The demo as a newcomer runs it: three real processes, and an exit code that can be trusted."""

import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest
import redis

from broker.cli.demo import scenes
from broker.cli.demo.scenes import SCENES, Outcome, Scene, play

TIMEOUT = 90


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = [sys.executable, "-m", "broker.cli", "demo", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@pytest.fixture
def database(redis_url: str) -> str:
    url = redis_url.removesuffix("0") + "9"
    redis.Redis.from_url(url).flushdb()
    return url


def test_every_scene_goes_as_expected_on_the_embedded_store() -> None:
    done = run("--json")
    lines = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert [line["title"] for line in lines if not line["as_expected"]] == []
    assert len(lines) == len(SCENES)
    assert done.returncode == 0, done.stderr


def test_on_a_real_redis_it_leaves_the_database_as_it_was(database: str) -> None:
    done = run("--redis-url", database)
    assert f"All {len(SCENES)} as expected." in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
    assert redis.Redis.from_url(database).dbsize() == 0


def test_a_database_with_something_in_it_is_refused_and_left_alone(database: str) -> None:
    redis.Redis.from_url(database).set("somebody", "else's")
    done = run("--redis-url", database)
    assert done.returncode == 2
    assert "holds 1 keys" in done.stderr
    assert redis.Redis.from_url(database).get("somebody") == b"else's"


def test_a_redis_that_is_not_there_is_refused_with_its_address() -> None:
    done = run("--redis-url", "redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert "redis://127.0.0.1:1/0: not reachable" in done.stderr


def test_a_scene_that_goes_otherwise_is_not_as_expected() -> None:
    scene = Scene("Something", "403 insufficient_scope", lambda _: Outcome("200 everything", 1))
    assert not play(scene, stage=None).as_expected  # type: ignore[arg-type]


def test_a_scene_that_breaks_off_says_why_and_is_not_as_expected() -> None:
    def breaks(_: scenes.Stage) -> Outcome:
        raise TimeoutError("nobody answered")

    line = play(Scene("Something", "200", breaks), stage=None)  # type: ignore[arg-type]
    assert not line.as_expected
    assert "nobody answered" in line.happened
