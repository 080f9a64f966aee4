"""`/v1/tasks`: declare, look at, list and end tasks."""

import json
from typing import Any

import pytest

from tests.broker.front import Front, problem_of
from tests.broker.world import BOT, OTHER

UNKNOWN = "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00"
DENIED = (403, "access_denied", "not_permitted")
ANONYMOUS = (401, "invalid_client", "")


async def declared(front: Front, caller: str = "bot", **changes: Any) -> str:
    response = await front.declare(caller, **changes)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.asyncio(loop_scope="module")
async def test_an_agent_declares_a_task_and_is_shown_it(shared: Front) -> None:
    response = await shared.declare(purpose="look <script>", resources=["crm:ticket/4711"], max_duration=60)
    assert response.status_code == 201
    task = response.json()
    assert (task["agent"], task["type"], task["status"]) == ("support-bot", "summarise-ticket", "open")
    assert (task["purpose"], task["resources"], task["path"]) == ("look <script>", ["crm:ticket/4711"], [task["id"]])
    shown = (await shared.get(f"/v1/tasks/{task['id']}", "bot")).json()
    assert shown | {"created": 0} == task | {"created": 0}
    assert shown["ends"] - shown["created"] == 60


@pytest.mark.asyncio(loop_scope="module")
async def test_a_child_stands_below_its_parent(shared: Front) -> None:
    parent = await declared(shared)
    child = await declared(shared, parent=parent)
    assert (await shared.get(f"/v1/tasks/{child}", "bot")).json()["path"] == [parent, child]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"type": "nothing"}, (403, "access_denied", "outside_task_types")),
        ({"type": "single-ticket", "parent": UNKNOWN}, (400, "invalid_grant", "")),
        ({}, (400, "invalid_request", "")),
        ({"type": 5}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "max_duration": "60"}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "max_duration": True}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "max_duration": 1.0}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "agent": "other-bot"}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "resources": ["crm:ticket/*"]}, (400, "invalid_request", "")),
        ([], (400, "invalid_request", "")),
        ("single-ticket", (400, "invalid_request", "")),
        (b"", (400, "invalid_request", "")),
        (b"{", (400, "invalid_request", "")),
        (b'{"type":"a","type":"single-ticket"}', (400, "invalid_request", "")),
        (b'\xff{"type":"single-ticket"}', (400, "invalid_request", "")),
        ({"type": "single-ticket", "purpose": "x" * 501}, (400, "invalid_request", "")),
        ({"type": "single-ticket", "purpose": "x" * 40_000}, (413, "invalid_request", "")),
    ],
    ids=[
        "a type that it may not run",
        "an unknown parent",
        "no type",
        "a number as type",
        "a text for a number",
        "a boolean for a number",
        "a float for a whole number",
        "a member nobody knows",
        "a wildcard",
        "a list",
        "a text",
        "nothing",
        "half an object",
        "a member twice",
        "bytes",
        "a purpose too long",
        "a huge body",
    ],
)
async def test_what_is_no_task_of_the_agent_is_not_opened(front: Front, body: Any, answer: tuple[int, str, str]) -> None:
    """`STYLE.md` 4: bodies that carry authority are never converted."""
    assert problem_of(await front.post("/v1/tasks", body, "bot")) == answer
    assert (await front.get("/v1/tasks")).json()["tasks"] == []


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_says_that_it_is_json(shared: Front, media_type: str) -> None:
    """TRAPS 27 and 28: what a page of another site can send without asking is refused."""
    response = await shared.post("/v1/tasks", {"type": "single-ticket"}, "bot", **{"Content-Type": media_type})
    assert problem_of(response) == (400, "invalid_request", "")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_body_may_say_its_character_set(shared: Front) -> None:
    media_type = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await shared.post("/v1/tasks", {"type": "single-ticket"}, "bot", **media_type)).status_code == 201


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, ANONYMOUS),
        ("admin", ANONYMOUS),
        ("stranger", (403, "unauthorized_client", "")),
        ("crm", (403, "unauthorized_client", "")),
    ],
    ids=["nobody", "an operator", "a workload that nobody registered", "a service"],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_agents_declare_tasks(shared: Front, caller: str | None, answer: tuple[int, str, str]) -> None:
    assert problem_of(await shared.post("/v1/tasks", {"type": "single-ticket"}, caller)) == answer


SHOW = {"bot": True, "admin": True, "olga": True, "watcher": True, "other": False}
END = {"bot": True, "admin": True, "olga": True, "watcher": False, "other": False}


@pytest.mark.parametrize(("caller", "allowed"), SHOW.items())
@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_shown_to_its_agent_and_to_operators(shared: Front, caller: str, allowed: bool) -> None:
    response = await shared.get(f"/v1/tasks/{await declared(shared)}", caller)
    if allowed:
        assert response.json()["agent"] == "support-bot"
    else:
        assert problem_of(response) == DENIED


@pytest.mark.parametrize(("caller", "allowed"), END.items())
@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_is_ended_by_its_agent_or_by_operators(shared: Front, caller: str, allowed: bool) -> None:
    task = await declared(shared)
    response = await shared.post(f"/v1/tasks/{task}/complete", caller=caller)
    if not allowed:
        assert problem_of(response) == DENIED
    status = (await shared.get(f"/v1/tasks/{task}", "bot")).json()["status"]
    assert status == ("completed" if allowed else "open")


@pytest.mark.parametrize("path", ["", "/complete"])
@pytest.mark.parametrize("caller", [None, "stranger", "crm"])
@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_and_strangers_see_and_end_nothing(shared: Front, path: str, caller: str | None) -> None:
    task = await declared(shared)
    response = await (shared.post if path else shared.get)(f"/v1/tasks/{task}{path}", caller=caller)  # type: ignore[operator]
    assert problem_of(response) in (ANONYMOUS, (403, "access_denied", "not_registered"))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_persons_token_ends_nothing(shared: Front) -> None:
    """TRAPS 12."""
    task = await declared(shared)
    headers = {"Authorization": f"Bearer {shared.human_token()}"}
    assert problem_of(await shared.post(f"/v1/tasks/{task}/complete", caller=None, **headers)) == ANONYMOUS


@pytest.mark.parametrize(("verb", "outcome"), [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_ends_as_it_is_told_and_stays_so(shared: Front, verb: str, outcome: str) -> None:
    task = await declared(shared)
    assert (await shared.post(f"/v1/tasks/{task}/{verb}", caller="bot")).json()["status"] == outcome
    assert (await shared.post(f"/v1/tasks/{task}/cancel", caller="bot")).json()["status"] == outcome


async def test_ending_a_task_ends_its_leases_and_its_children_before_the_answer(front: Front) -> None:
    parent = await declared(front)
    child = await declared(front, parent=parent)
    leases = [(await front.token(task=task)).json()["lease_id"] for task in (parent, child)]
    await front.post(f"/v1/tasks/{parent}/complete", caller="bot")
    front.world.follow()
    for lease in leases:
        assert (await front.get(f"/v1/leases/{lease}")).json()["status"] == "revoked"
    assert (await front.get(f"/v1/tasks/{child}", "bot")).json()["status"] != "open"


@pytest.mark.parametrize("verb", ["delete", "Complete", "completed", "complete%20", "tree"])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_verb_is_not_found_and_names_those_there_are(shared: Front, verb: str) -> None:
    task = await declared(shared)
    response = await shared.post(f"/v1/tasks/{task}/{verb}", caller="bot")
    assert problem_of(response) == (404, "not_found", "")
    assert "complete, fail, cancel" in response.json()["detail"]


@pytest.mark.parametrize("id", [UNKNOWN, "tsk_x", "lse_01ARZ3NDEKTSV4RRFFQ69G5F00", "%ff", "x" * 2000])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_task_is_not_found(shared: Front, id: str) -> None:
    for response in (await shared.get(f"/v1/tasks/{id}"), await shared.post(f"/v1/tasks/{id}/complete")):
        assert problem_of(response)[:2] == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/tasks", {"GET", "POST"}),
        ("DELETE", f"/v1/tasks/{UNKNOWN}", {"GET"}),
        ("GET", f"/v1/tasks/{UNKNOWN}/complete", {"POST"}),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_another_method_is_refused_with_those_there_are(shared: Front, method: str, path: str, allowed: set[str]) -> None:
    """RFC 9110 §15.5.6. Nothing ends by GET (TRAPS 28)."""
    response = await shared.send(method, path, headers=shared.bearer("admin"))
    assert problem_of(response) == (405, "invalid_request", "")
    assert allowed <= set(response.headers["allow"].split(", "))


async def test_operators_list_open_tasks(front: Front) -> None:
    mine, theirs = await declared(front), await declared(front, "other")
    over = await declared(front)
    await front.post(f"/v1/tasks/{over}/complete", caller="bot")
    page = (await front.get("/v1/tasks")).json()
    assert {task["id"] for task in page["tasks"]} == {mine, theirs}
    assert page["cursor"] is None
    only = (await front.get("/v1/tasks?agent=other-bot")).json()
    assert [task["id"] for task in only["tasks"]] == [theirs]
    assert (await front.get("/v1/tasks?agent=nobody")).json()["tasks"] == []


@pytest.mark.parametrize(
    ("caller", "answer"),
    [(None, ANONYMOUS), ("bot", (403, "access_denied", "not_an_operator")), ("crm", (403, "access_denied", "not_registered"))],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_operators_list_tasks(shared: Front, caller: str | None, answer: tuple[int, str, str]) -> None:
    assert problem_of(await shared.get("/v1/tasks", caller)) == answer


async def test_more_tasks_than_a_page_holds_come_page_by_page_each_once(front: Front) -> None:
    ids = [(await front.world.declare(workload=workload)).id for workload in (BOT, OTHER) for _ in range(130)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await front.get(f"/v1/tasks?cursor={cursor}")).json()
        assert page["tasks"]
        seen += [task["id"] for task in page["tasks"]]
        cursor = page["cursor"]
    assert sorted(seen) == sorted(ids)


async def test_what_an_agent_wrote_is_data_in_every_answer(front: Front) -> None:
    """TRAPS 26 and 28: newlines, control characters and markup stay inside one JSON text."""
    purpose = 'x"},{"id":"tsk_0"\n\r\u2028\x00<img src=x onerror=alert(1)>'
    task = await declared(front, purpose=purpose)
    listed = await front.get("/v1/tasks")
    assert [found["purpose"] for found in listed.json()["tasks"]] == [purpose]
    assert "\n" not in listed.text
    assert json.loads((await front.get(f"/v1/tasks/{task}")).text)["purpose"] == purpose
    assert listed.headers["content-type"] == "application/json"
