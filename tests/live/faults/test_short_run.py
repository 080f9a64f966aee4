"""The fault suite, short: within a minute, one fault of each sort at random, and nothing that was taken away is accepted.

The long run is a command: `python -m tests.live.faults --minutes 10 --seed 7`. Here there are fewer verifiers, for the machine
is shared with the rest of the tests.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.live.faults import faults
from tests.live.faults.campaign import Campaign

FEEDS = 20
SEED = "FAULTS_SEED"
_OF_STORE = (faults.KillRedis, faults.OldSnapshot, faults.LoseHost, faults.FlushAll, faults.FailOver)
_OF_REACH = (faults.CutBroker, faults.HeldBroker, faults.StopWorker, faults.StopBeforeSigning)
_OF_VERIFIERS = (faults.CutVerifiers, faults.HeldVerifiers, faults.TamperedFeed, faults.WrongClock)


@pytest.fixture
def seed() -> int:
    return int(os.environ.get(SEED, time.time_ns() % 1_000_000))


def test_what_was_taken_away_stays_away_whatever_fails(seed: int, tmp_path: Path) -> None:
    """`DESIGN.md` I1, I2, I4, I7, from outside (TRAPS 19-25)."""
    print(f"{SEED}={seed}")
    chance = random.Random(seed)
    kinds = [chance.choice(sort) for sort in (_OF_STORE, _OF_REACH, _OF_VERIFIERS)]
    campaign = Campaign(tmp_path / "faults", seed=seed, feeds=FEEDS, say=print)
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
