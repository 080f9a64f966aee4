"""Killed between any two steps of an issue: whatever token left the process has its lease and its audit record."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import redis

from broker.audit import Record
from scopes import claims as token_claims
from scopes.claims import TOKEN_TYPE, Claims
from scopes.jose import read
from tests.broker.redis_server import RedisServer
from tests.broker.world import ISSUER, write_files

DRIVER = Path(__file__).with_name("doomed.py")
ROOT = Path(__file__).parents[2]


class Life(NamedTuple):
    """What a child that asked for a token came to."""

    step: int
    killed: bool
    token: str


class Left(NamedTuple):
    """What is in the store when all of them are gone."""

    leases: set[str]
    recorded: list[str | None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory, server: RedisServer) -> list[Life]:
    """One child for each step on the way to a token, killed there; the last comes to the end."""
    folder = tmp_path_factory.mktemp("broker")
    write_files(folder)
    with (folder / "broker.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(f'redis_url = "{server.url}"\n{text}')
    command = [sys.executable, str(DRIVER), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    outcomes: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    assert all(outcome["killed"] or outcome["status"] == 0 for outcome in outcomes), ran.stderr.decode()
    return [Life(outcome["step"], outcome["killed"], outcome["token"]) for outcome in outcomes]


@pytest.fixture(scope="module")
def left(lives: list[Life], server: RedisServer) -> Left:
    """Look at the store from outside; nothing of the broker runs any more."""
    assert lives
    with redis.Redis.from_url(server.url) as client:
        leases = {id.decode() for name in client.keys("ab:{s??}:leases") for id in client.hkeys(name)}
        entries = [fields for name in client.keys("ab:*:audit") for _, fields in client.xrange(name)]
        records = [msgspec.json.decode(fields[b"record"], type=Record) for fields in entries]
    return Left(leases, [record.lease for record in records if record.kind == "token.issued"])


def claims_of(token: str) -> Claims:
    return token_claims.decode(read(token, types=frozenset({TOKEN_TYPE})).unverified_payload)[0]


def test_the_process_was_killed_at_every_step_and_not_after_the_last(lives: list[Life]) -> None:
    assert [life.step for life in lives] == list(range(1, len(lives) + 1))
    assert [life.killed for life in lives] == [True] * (len(lives) - 1) + [False]
    assert len(lives) > 30


def test_a_token_leaves_only_at_the_end_of_the_way(lives: list[Life]) -> None:
    handed_out = [bool(life.token) for life in lives]
    first = handed_out.index(True)
    assert first > 20
    assert handed_out == [False] * first + [True] * (len(lives) - first)
    assert len(lives) - first == 2, "one died after it had handed out its token, one lived"


def test_every_token_that_left_has_its_lease_and_its_record(lives: list[Life], left: Left) -> None:
    """`DESIGN.md` I2: no token exists without a lease and an audit record written before it (TRAPS 26)."""
    tokens = [claims_of(life.token) for life in lives if life.token]
    assert {claims.iss for claims in tokens} == {ISSUER}
    assert {claims.jti for claims in tokens} <= left.leases
    assert {claims.jti for claims in tokens} <= set(left.recorded)


def test_there_is_no_lease_without_its_record_and_no_record_without_its_lease(left: Left) -> None:
    """One atomic step (`DESIGN.md` 3.12), also where the process died while the store carried it out."""
    assert sorted(left.leases) == sorted(lease for lease in left.recorded if lease is not None)
    assert len(left.recorded) == len(left.leases)


def test_some_died_after_their_lease_was_written_and_before_they_had_its_token(lives: list[Life], left: Left) -> None:
    """Otherwise nothing here was put to the test."""
    assert len(left.leases) > sum(bool(life.token) for life in lives) + 3
