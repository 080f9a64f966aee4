"""`/v1/agents`: who is registered, and where they stand."""

from pathlib import Path
from typing import Any

import pytest

from tests.broker.front import Front, error_of, opened, problem_of
from tests.broker.world import BOT, REGISTRY


@pytest.mark.asyncio(loop_scope="module")
async def test_every_agent_is_listed_by_name(shared: Front) -> None:
    page = (await shared.get("/v1/agents")).json()
    assert [(agent["name"], agent["status"]) for agent in page["agents"]] == [
        ("other-bot", "active"),
        ("support-bot", "active"),
    ]
    assert page["cursor"] is None


async def test_an_agent_is_shown_as_it_is_registered_with_how_much_it_holds(front: Front) -> None:
    await front.token()
    await front.token(requested_ttl="1")
    front.world.advance(2_000)
    agent = (await front.get("/v1/agents/support-bot")).json()
    assert agent == {
        "name": "support-bot",
        "status": "active",
        "missing": [],
        "reduced": None,
        "suspended_instances": [],
        "owner": "jane@example.com",
        "purpose": "First-line support drafting",
        "environment": "prod",
        "workloads": [BOT],
        "tasks": ["summarise-ticket", "single-ticket"],
        "ends": "2099-06-30",
        "review_by": None,
        "review_overdue": False,
        "live_leases": 1,
    }


async def test_an_agent_is_shown_where_it_stands_in_its_life(tmp_path: Path) -> None:
    text = REGISTRY.replace('owner        = "joe@example.com"\n', "")
    async with opened(tmp_path, registry=text) as front:
        declared = (await front.get("/v1/agents/other-bot")).json()
        assert (declared["status"], declared["missing"]) == ("declared", ["owner"])
        front.world.advance(80 * 365 * 86_400_000)
        assert (await front.get("/v1/agents/support-bot")).json()["status"] == "ended"


@pytest.mark.parametrize("name", ["nobody", "Support-Bot", "support-bot%00", "%ff", "x" * 300])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_agent_is_not_found(shared: Front, name: str) -> None:
    assert problem_of(await shared.get(f"/v1/agents/{name}")) == (404, "not_found", "")


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/agents/support-bot"])
@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_operators_look_at_agents(
    shared: Front, path: str, caller: str | None, answer: tuple[int, str, str]
) -> None:
    assert problem_of(await shared.get(path, caller)) == answer


@pytest.mark.asyncio(loop_scope="module")
async def test_a_persons_token_looks_at_nothing(shared: Front) -> None:
    """TRAPS 12."""
    response = await shared.get("/v1/agents", None, Authorization=f"Bearer {shared.human_token()}")
    assert problem_of(response) == (401, "invalid_client", "")
    assert response.headers["www-authenticate"] == "Bearer"


# Suspend, resume, retire

WHY = {"reason": "drill"}
VERBS = {"suspend": "suspended", "resume": "active", "retire": "retired"}


async def change(front: Front, verb: str, caller: str | None = "admin", **body: Any) -> Any:
    return await front.post(f"/v1/agents/support-bot/{verb}", {**WHY, **body}, caller)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_answers_with_its_place_in_the_log_and_what_was_before(front: Front, verb: str) -> None:
    done = await change(front, verb)
    assert done.status_code == 202
    assert set(done.json()) == {"id", "epoch", "seq", "status", "was"}
    assert (done.json()["seq"], done.json()["status"], done.json()["was"]) == (1, VERBS[verb], "active")
    again = (await change(front, verb)).json()
    assert (again["seq"], again["status"], again["was"]) == (2, VERBS[verb], VERBS[verb])
    assert (await front.get("/v1/agents/support-bot")).json()["status"] == VERBS[verb]


async def test_how_far_a_suspension_has_come_can_be_followed(front: Front) -> None:
    id = (await change(front, "suspend")).json()["id"]
    shown = (await front.get(f"/v1/revocations/{id}")).json()
    assert (shown["kind"], shown["value"]) == ("agent", "support-bot")


@pytest.mark.parametrize(
    ("verb", "instance", "reason"),
    [("suspend", None, "agent_suspended"), ("suspend", BOT, "instance_suspended"), ("retire", None, "agent_retired")],
)
async def test_whoever_is_stopped_is_told_so_wherever_it_asks(front: Front, verb: str, instance: str, reason: str) -> None:
    await change(front, verb, **({"instance": instance} if instance else {}))
    assert error_of(await front.token()) == (400, "unauthorized_client", reason)
    assert error_of(await front.token(task_declaration='{"type":"single-ticket"}')) == (400, "unauthorized_client", reason)
    assert problem_of(await front.declare()) == (403, "unauthorized_client", reason)
    assert (await front.declare("other")).status_code == 201


async def test_an_instance_that_is_suspended_is_shown_with_its_agent(front: Front) -> None:
    await change(front, "suspend", instance=BOT)
    shown = (await front.get("/v1/agents/support-bot")).json()
    assert (shown["status"], shown["suspended_instances"]) == ("active", [BOT])


async def test_a_retired_agent_is_not_resumed(front: Front) -> None:
    await change(front, "retire")
    for verb in ("resume", "suspend"):
        assert problem_of(await change(front, verb)) == (409, "agent_retired", "")


async def test_a_review_that_is_overdue_is_shown_and_stops_nobody(tmp_path: Path) -> None:
    text = REGISTRY.replace("\n[agents.other-bot]", "review_by = 2020-01-01\n[agents.other-bot]")
    async with opened(tmp_path, registry=text) as front:
        shown = (await front.get("/v1/agents/support-bot")).json()
        assert (shown["review_by"], shown["review_overdue"]) == ("2020-01-01", True)
        assert (await front.token()).status_code == 200


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, (400, "invalid_request", "")),
        ({"reason": ""}, (400, "invalid_request", "")),
        ({"reason": "x" * 501}, (400, "invalid_request", "")),
        ({"reason": 1}, (400, "invalid_request", "")),
        ({"reason": "x", "instance": ""}, (400, "invalid_request", "")),
        ({"reason": "x", "instance": 1}, (400, "invalid_request", "")),
        ({"reason": "x", "agent": "other-bot"}, (400, "invalid_request", "")),
        (b"{", (400, "invalid_request", "")),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_that_is_not_exactly_right_changes_nothing(shared: Front, verb: str, body: Any, answer: Any) -> None:
    assert problem_of(await shared.post(f"/v1/agents/support-bot/{verb}", body)) == answer
    assert (await shared.get("/v1/agents/support-bot")).json()["status"] == "active"


@pytest.mark.parametrize(
    "path", ["nobody/suspend", "nobody/retire", "nobody/resume", "support-bot/kill", "support-bot/Suspend"]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_neither_unknown_agents_nor_unknown_verbs_are_found(shared: Front, path: str) -> None:
    assert problem_of(await shared.post(f"/v1/agents/{path}", WHY)) == (404, "not_found", "")


@pytest.mark.parametrize("verb", VERBS)
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
@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_else_stops_or_resumes_an_agent(shared: Front, caller: str | None, answer: Any, verb: str) -> None:
    assert problem_of(await change(shared, verb, caller)) == answer


async def test_an_operator_stops_and_only_an_admin_lets_go_on_or_retires(front: Front) -> None:
    """To stop is right in doubt; to undo it, or to make it final, is not."""
    assert (await change(front, "suspend", "olga")).status_code == 202
    for verb in ("resume", "retire"):
        assert problem_of(await change(front, verb, "olga")) == (403, "access_denied", "not_permitted")
