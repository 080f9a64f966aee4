"""The fault suite, short: within a minute, one fault of each sort at random, and nothing that was taken away is accepted.

The long run is a command: `python -m tests.live.faults --minutes 10 --seed 7`. Here there are fewer verifiers, for the machine
is shared with the rest of the tests.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.live.faults import broker_faults, redis_faults, verifier_faults
from tests.live.faults.campaign import Campaign

FEEDS = 20
SEED = "FAULTS_SEED"
_SORTS = (
    (
        redis_faults.KillRedis,
        redis_faults.OldSnapshot,
        redis_faults.LoseHost,
        redis_faults.FlushAll,
        redis_faults.FailOver,
    ),
    (broker_faults.CutBroker, broker_faults.HeldBroker, broker_faults.StopWorker, broker_faults.StopBeforeSigning),
    (
        verifier_faults.CutVerifiers,
        verifier_faults.HeldVerifiers,
        verifier_faults.TamperedFeed,
        verifier_faults.WrongClock,
    ),
)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get(SEED, time.time_ns() % 1_000_000))


def test_what_was_taken_away_stays_away_whatever_fails(seed: int, tmp_path: Path) -> None:
    """`DESIGN.md` I1, I2, I4, I7, from outside (TRAPS 19-25)."""
    print(f"{SEED}={seed} repeats this schedule")
    chance = random.Random(seed)
    kinds = [chance.choice(sort) for sort in _SORTS]
    required = chance.choice((0, 1))
    campaign = Campaign(tmp_path / "faults", seed=seed, feeds=FEEDS, replicas_required=required, say=print)
    with campaign:
        campaign.begin()
        for kind in kinds:
            campaign.play(kind)
        campaign.finish()
    seen = campaign.summary()
    assert not seen["violations"], seen["violations"][:3]
    assert seen["tokens_ended"] > 10
    assert seen["tokens_with_record_and_lease"] > 10
    assert seen["verdicts"]["accepted"] > 1_000
    assert seen["verdicts"]["revoked"] > 1_000
