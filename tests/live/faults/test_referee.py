"""The referee itself: what it holds a token to, and what it lets pass. Tokens are real, and no process runs."""

from pathlib import Path
from typing import Any

import pytest

from tests.live.faults import leaks
from tests.live.faults.referee import BOUND, Reduction, Referee, Revocation, Span
from tests.scopes.tokens import EPOCH, POSITION, compact, header_of, members, new_key

LATER = f"{EPOCH[:-1]}9"
KEY = new_key()


class Told:
    """What the hosts of verifiers were told, and the time."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.time = 0

    def tell(self, do: str, **command: Any) -> None:
        self.commands.append((do, command))

    @property
    def bounds(self) -> dict[int, int]:
        """By when each token has to be refused, by its number."""
        return {command["number"]: command["by"] for do, command in self.commands if do == "end"}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def referee(told: Told) -> Referee:
    return Referee(told.tell, lambda: told.time)


def token(lease: str = "lse_01", **lease_members: object) -> str:
    return compact(header_of(KEY), members(now=1_795_335_601, jti=lease, lease=lease_members), KEY)


def revocation(*, asked: int, seq: int = POSITION + 1, value: str = "lse_01", epoch: str = EPOCH) -> Revocation:
    return Revocation("lease", value, asked, asked + 10, (epoch, seq))


def wrong(referee: Referee, number: int, at: int) -> None:
    """Have a host report that a verifier accepted what it must not."""
    referee.heard("host", {"kind": "wrong", "token": number, "verifier": "host.1", "what": "accepted late", "at": at})


def test_a_token_that_was_out_has_to_be_refused_within_the_bound_after_the_answer(referee: Referee, told: Told) -> None:
    hit, spared = referee.handed_out(token(), 10, 20), referee.handed_out(token("lse_02"), 10, 20)
    referee.revoked(revocation(asked=30))
    assert told.bounds == {hit.number: 40 + BOUND}
    assert spared.ended is None


def test_a_token_that_was_decided_before_the_event_is_hit_however_late_it_came(referee: Referee, told: Told) -> None:
    """TRAPS 23: decided just before, and handed out just after."""
    referee.revoked(revocation(asked=30))
    before = referee.handed_out(token(), 20, 9_000)
    after = referee.handed_out(token(position=POSITION + 1), 50, 60)
    assert told.bounds == {before.number: 40 + BOUND}
    assert after.ended is None


def test_whatever_is_of_an_earlier_epoch_is_void_once_a_later_one_was_seen(referee: Referee, told: Told) -> None:
    old = referee.handed_out(token(), 10, 20)
    new = referee.handed_out(token("lse_02", epoch=LATER), 90, 100)
    late = referee.handed_out(token("lse_03"), 10, 200)
    assert told.bounds == {old.number: 100 + BOUND, late.number: 200 + BOUND}
    assert new.ended is None


def test_what_a_reduction_leaves_may_be_issued_and_nothing_else(referee: Referee) -> None:
    referee.reduced(Reduction("paused", "support-bot", since=100), Revocation("agent", "support-bot", 90, 100, (EPOCH, 5000)))
    referee.handed_out(token(position=6000), 99, 150)
    assert not referee.violations
    referee.handed_out(token("lse_02", position=6000), 101, 150)
    assert [violation.what for violation in referee.violations] == ["issued though support-bot was paused since 100"]
    referee.restored("support-bot", 200)
    referee.handed_out(token("lse_03", position=6000), 190, 250)
    assert len(referee.violations) == 1


def test_a_violation_names_lease_and_fault_and_is_kept_apart_where_the_fault_is_not_judged(referee: Referee) -> None:
    entry = referee.handed_out(token(), 10, 20)
    referee.revoked(revocation(asked=30))
    judged = Span(name="cut-broker", detail="A", judged=True, loses=False, injected=25, healed=90, recovered=100)
    referee.spans.append(judged)
    wrong(referee, entry.number, 5_000)
    assert "lease lse_01" in referee.violations[0].account
    assert "cut-broker (A)" in referee.violations[0].account
    referee.spans.append(Span(name="isolated-master", detail="", judged=False, loses=True, injected=4_000))
    wrong(referee, entry.number, 5_000)
    assert (len(referee.violations), len(referee.unjudged)) == (1, 1)


def test_verifiers_are_held_to_what_the_broker_says_of_them(referee: Referee, told: Told) -> None:
    hit, _ = referee.handed_out(token(), 10, 20), referee.handed_out(token("lse_02"), 10, 20)
    asked = revocation(asked=30)
    referee.revoked(asked)
    referee.shown_as_refused(asked, ["host.1"])
    assert told.commands[-1] == ("bind", {"tokens": [hit.number], "verifiers": ["host.1"]})


def test_any_part_of_a_secret_is_found_in_a_log_and_in_the_audit(tmp_path: Path) -> None:
    secret = token()
    (tmp_path / "good.log").write_text("a token of lse_01 was refused\n")
    assert list(leaks.found([secret], tmp_path, ["nothing"])) == []
    (tmp_path / "bad.log").write_text(f"refused: {secret.split('.')[1]}\n")
    assert list(leaks.found([secret], tmp_path, [f'"said": "{secret}"'])) == ["bad.log", "the audit"]
