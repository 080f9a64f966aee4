"""`/v1/reductions`: reduce access without ending it, restore it, and see what is reduced."""

from typing import Any

import pytest

from tests.broker.front import Front, error_of, problem_of
from tests.broker.world import BOT

BODY: dict[str, Any] = {"selector": {"agent": "support-bot"}, "to": "paused", "reason": "drill"}


@pytest.mark.parametrize("selector", [{"agent": "support-bot"}, {"instance": BOT}, {"service": "crm"}, {"all": True}])
async def test_what_is_reduced_is_listed_until_it_is_restored(front: Front, selector: dict[str, Any]) -> None:
    body = {**BODY, "selector": selector}
    done = await front.post("/v1/reductions", body)
    assert done.status_code == 202
    assert set(done.json()) == {"id", "epoch", "seq"}
    (listed,) = (await front.get("/v1/reductions")).json()["reductions"]
    told = {"id": done.json()["id"], "epoch": done.json()["epoch"], "seq": 1, "by": "admin", "said": "drill"}
    assert listed == {**told, "selector": selector, "to": "paused"}
    assert (await front.post("/v1/reductions", {**body, "to": "none"})).status_code == 202
    assert (await front.get("/v1/reductions")).json() == {"reductions": [], "cursor": None}


async def test_a_paused_agent_is_told_so_at_the_token_endpoint(front: Front) -> None:
    await front.post("/v1/reductions", BODY)
    assert error_of(await front.token()) == (400, "unauthorized_client", "paused")


async def test_what_needs_a_person_says_so_at_the_token_endpoint(front: Front) -> None:
    """`WIRE.md`: needs a person, caller cannot wait."""
    await front.post("/v1/reductions", {**BODY, "to": "approval"})
    answer = await front.token()
    assert error_of(answer) == (400, "access_denied", "approval_required")
    assert answer.json()["approval_required"] is True


async def test_an_operator_may_reduce_and_restore(front: Front) -> None:
    assert (await front.post("/v1/reductions", BODY, "olga")).status_code == 202
    assert (await front.post("/v1/reductions", {**BODY, "to": "none"}, "olga")).status_code == 202


@pytest.mark.parametrize("to", ["paused", "none"])
@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
        ("watcher", (403, "access_denied", "not_permitted")),
    ],
    ids=["nobody", "an agent", "a service", "an auditor"],
)
async def test_nobody_else_reduces_or_restores(front: Front, caller: str | None, answer: Any, to: str) -> None:
    assert problem_of(await front.post("/v1/reductions", {**BODY, "to": to}, caller)) == answer


async def test_an_auditor_sees_what_is_reduced_and_an_agent_does_not(front: Front) -> None:
    assert (await front.get("/v1/reductions", "watcher")).status_code == 200
    assert problem_of(await front.get("/v1/reductions", "bot")) == (403, "access_denied", "not_an_operator")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"selector": {}, "to": "paused", "reason": "x"},
        {**BODY, "to": "off"},
        {**BODY, "reason": ""},
        {**BODY, "selector": {"task": "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00"}},
        {**BODY, "more": 1},
        {**BODY, "selector": {"agent": "support-bot", "service": "crm"}},
    ],
)
async def test_what_is_not_exactly_a_reduction_is_refused(front: Front, body: Any) -> None:
    assert problem_of(await front.post("/v1/reductions", body))[:2] == (400, "invalid_request")
    assert (await front.get("/v1/reductions")).json()["reductions"] == []


async def test_an_agent_that_nobody_knows_is_not_found(front: Front) -> None:
    """A name misspelt in a hurry must not look like a stop."""
    answer = await front.post("/v1/reductions", {**BODY, "selector": {"agent": "suport-bot"}})
    assert problem_of(answer)[:2] == (404, "not_found")
