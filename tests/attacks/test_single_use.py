"""A token that may be used once is burnt, used twice, replayed after a loss, or given where nobody counts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from broker.errors import Unavailable
from scopes.constraints import CONSTRAINTS
from tests.broker.acknowledging import SECOND, body
from tests.broker.counted import KB_WORKLOAD, ONCE, REGISTRY, THRICE, UNCOUNTED, new_use
from tests.broker.front import Front, opened, problem_of
from tests.broker.world import BOT, CRM, KB

CONSUME, ACKNOWLEDGE = "/v1/leases/consume", "/v1/feed/acknowledgements"


@pytest_asyncio.fixture
async def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Front]:
    """A broker whose feed only services follow, and that knows a verifier of the CRM, which enforces everything."""
    # A hundred requests at once may take a busy machine longer than a worker may be without news.
    monkeypatch.setattr("broker.feed.follower.MAX_AGE", 60_000)
    async with opened(tmp_path, registry=REGISTRY, changes={"feed_access": "workloads"}) as made:
        made.world.follow()
        await report(made)
        yield made


async def report(front: Front, verifier: str = "process-one", caller: str | None = "crm", **said: Any) -> httpx2.Response:
    return await front.post(ACKNOWLEDGE, {**body(front.world, verifier), "enforces": list(CONSTRAINTS), **said}, caller)


async def token(front: Front, scope: str = ONCE) -> str:
    front.world.advance(1_000)
    return str((await front.token(scope=scope)).json()["access_token"])


async def refusal(front: Front, scope: str = ONCE) -> str:
    front.world.advance(1_000)
    return str((await front.token(scope=scope)).json().get("reason", ""))


async def consume(front: Front, text: str, use: str = "", *, workload: str = "") -> httpx2.Response:
    headers = {"Authorization": f"Bearer {front.world.svid(workload)}"} if workload else {}
    return await front.post(CONSUME, {"token": text, "use": use or new_use()}, None if workload else "crm", **headers)


async def test_a_hundred_copies_presented_at_once_are_worth_one(front: Front) -> None:
    """TRAPS 15: counted without atomicity all of them pass."""
    text = await token(front)
    answers = await asyncio.gather(*(consume(front, text) for _ in range(100)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 99


async def test_whoever_saw_a_token_cannot_burn_it(front: Front) -> None:
    """TRAPS 15a: the agent itself, another service that it was sent to, and somebody who is nobody."""
    text = await token(front)
    for workload, answer in (
        (BOT, (403, "access_denied", "not_its_workload")),
        (KB_WORKLOAD, (404, "not_found", "")),
        ("spiffe://development.test/agent/nobody", (403, "access_denied", "not_its_workload")),
    ):
        for _ in range(3):
            assert problem_of(await consume(front, text, workload=workload)) == answer
    assert (await consume(front, text)).status_code == 200


async def test_a_service_that_hears_nothing_and_asks_again_is_not_told_that_it_was_somebody_else(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 15a: the payment neither runs nor can run. And TRAPS 19: what is not known is no success."""
    text, use, store = await token(front), new_use(), front.world.backend.stores.shared
    run = store.run

    async def lost(*asked: Any) -> Any:
        await run(*asked)
        raise Unavailable("the answer was lost", retry_after=1)

    with monkeypatch.context() as losing:
        losing.setattr(store, "run", lost)
        assert (await consume(front, text, use)).status_code == 503
    assert [(await consume(front, text, each)).status_code for each in (new_use(), use, use)] == [409, 200, 200]


async def test_a_thief_who_knows_the_id_of_a_use_gains_nothing_by_it(front: Front) -> None:
    """It is an answer for the service, and no ticket."""
    text, use = await token(front), new_use()
    await consume(front, text, use)
    assert (await consume(front, text, use, workload=BOT)).status_code == 403
    assert (await consume(front, await token(front), use)).status_code == 200


async def test_a_copy_with_other_claims_is_not_counted_apart(front: Front) -> None:
    """Another token of the same lease, such as one that was asked for again, spends the same use."""
    asked = {"headers": {"Idempotency-Key": "payment 17"}, "data": front.form(scope=ONCE)}
    first, again = [(await front.send("POST", "/oauth/token", **asked)).json()["access_token"] for _ in range(2)]
    assert [(await consume(front, text)).status_code for text in (first, again)] == [200, 409]


async def test_after_the_loss_of_the_store_no_use_comes_back(front: Front) -> None:
    """TRAPS 20, 21a: whatever the store remembers of uses, the epoch of the token is over."""
    text = await token(front)
    await consume(front, text)
    front.world.backend.client.delete(*front.world.backend.client.keys("ab:{s*}:uses:*"))
    front.world.backend.client.delete("ab:{feed}:epoch")
    front.deaf = True
    assert (await consume(front, text)).status_code == 503
    front.deaf = False
    assert problem_of(await consume(front, text)) == (410, "revoked", "")


async def test_a_verifier_of_an_earlier_version_is_enough_that_nothing_is_given_that_it_would_not_limit(front: Front) -> None:
    """D7: the token might be sent to just that one."""
    assert await token(front)
    said = body(front.world, SECOND)
    assert "enforces" not in said
    await front.post(ACKNOWLEDGE, said, "crm")
    assert [await refusal(front, scope) for scope in (ONCE, THRICE, UNCOUNTED)] == ["not_enforceable", "not_enforceable", ""]


@pytest.mark.parametrize("caller", ["bot", "stranger", "crm", "admin", None], ids=str)
async def test_nobody_says_for_another_service_that_it_enforces(front: Front, caller: str | None) -> None:
    """Else an agent could have tokens issued that nobody limits."""
    assert (await report(front, caller=caller, aud=KB)).status_code in (401, 403)
    known = [await front.world.broker.acknowledgements.processes(audience, now=0) for audience in (CRM, KB)]
    assert [[process.id for process in processes] for processes in known] == [["process-one"], []]


async def test_a_service_that_left_is_not_believed_to_enforce_any_more(front: Front) -> None:
    await report(front, leaving=True)
    assert await refusal(front) == "not_enforceable"
