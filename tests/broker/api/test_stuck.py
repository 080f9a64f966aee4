"""`GET /v1/stuck`: what was to end and is not known to have ended."""

import pytest

from broker.errors import Unavailable
from tests.broker.front import Front, problem_of

BODY = {"selector": {"agent": "support-bot"}, "reason": "drill"}


@pytest.fixture
def refusing(front: Front, monkeypatch):
    """A store that commits nothing."""
    append = front.world.broker.log.append

    async def refuse(*_):
        raise Unavailable("down")

    monkeypatch.setattr(front.world.broker.log, "append", refuse)
    return lambda: monkeypatch.setattr(front.world.broker.log, "append", append)


async def test_what_is_not_confirmed_is_a_503_that_names_where_it_is_kept(front: Front, refusing) -> None:
    """TRAPS 19: revoked is never said where it is not known."""
    answer = await front.post("/v1/revocations", BODY)
    assert problem_of(answer) == (503, "temporarily_unavailable", "stuck")
    (listed,) = (await front.get("/v1/stuck")).json()["stuck"]
    assert listed["id"] == answer.json()["id"]
    assert (listed["what"], listed["problem"], listed["tries"]) == ("revocation of agent:support-bot", "down", 1)
    assert listed["since"] <= listed["next_try"]


async def test_what_was_done_in_the_end_is_not_listed(front: Front, refusing) -> None:
    await front.post("/v1/revocations", BODY)
    refusing()
    await front.world.broker.endings.try_again(even_early=True)
    assert (await front.get("/v1/stuck")).json() == {"stuck": [], "cursor": None}


@pytest.mark.parametrize(("caller", "reason"), [("bot", "not_an_operator"), ("crm", "not_registered")])
async def test_nobody_but_operators_sees_it(front: Front, caller: str, reason: str) -> None:
    assert problem_of(await front.get("/v1/stuck", caller)) == (403, "access_denied", reason)
