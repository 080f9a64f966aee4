"""`GET /v1/audit/events`: what happened, oldest first."""

import json

import pytest

from tests.broker.front import Front, problem_of
from tests.broker.recorded import recorded

LINES = "application/x-ndjson"


async def test_what_happened_is_listed_oldest_first(front: Front) -> None:
    token = (await front.token()).json()
    await front.token(scope="crm:ticket/1#read[email]")
    await recorded(front.world)
    page = (await front.get("/v1/audit/events")).json()
    assert [event["kind"] for event in page["events"]] == ["task.opened", "token.issued", "token.refused"]
    issued = page["events"][1]
    assert (issued["agent"], issued["lease"], issued["task"]) == ("support-bot", token["lease_id"], token["task_id"])
    assert page["cursor"] == page["events"][-1]["cursor"]


async def test_as_json_lines_there_is_one_record_in_a_line_whatever_an_agent_wrote(front: Front) -> None:
    """TRAPS 26: a newline in an agent's text makes no second record."""
    purpose = 'x\n{"kind":"token.issued"}\r\n\u2028\u0085'
    await front.declare(purpose=purpose)
    await front.declare(purpose="y")
    await recorded(front.world)
    response = await front.get("/v1/audit/events", Accept=LINES)
    assert response.headers["content-type"].startswith(LINES)
    lines = [json.loads(line) for line in response.content.split(b"\n") if line]
    assert [line["kind"] for line in lines] == ["task.opened", "task.opened"]
    assert [line["said"] for line in lines] == [purpose, "y"]


async def test_reading_goes_on_after_the_cursor_each_record_once(front: Front) -> None:
    for _ in range(130):
        await front.world.declare()
    expected = [entry.record.id for entry in await recorded(front.world)]
    seen: list[str] = []
    cursor = ""
    while page := (await front.get(f"/v1/audit/events?cursor={cursor}")).json()["events"]:
        seen += [event["id"] for event in page]
        cursor = page[-1]["cursor"]
    assert seen == expected
    assert len(seen) == 130


async def test_where_nothing_is_new_the_cursor_stays(front: Front) -> None:
    assert (await front.get("/v1/audit/events")).json() == {"events": [], "cursor": None}
    await front.declare()
    await recorded(front.world)
    cursor = (await front.get("/v1/audit/events")).json()["cursor"]
    assert (await front.get(f"/v1/audit/events?cursor={cursor}")).json() == {"events": [], "cursor": cursor}


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "1",
        "1-1",
        "1-1.x",
        "-1.0",
        "%D9%A1-1.0",
        "1-1.1.1",
        "(1-1.0",
        "%2B.0",
        pytest.param("9" * 30 + "-1.0", id="a time larger than the store holds"),
        pytest.param("1-1." + "9" * 5000, id="a number longer than Python reads"),
        pytest.param("9" * 5000 + "-1.0", id="a time longer than Python reads"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_cursor_that_was_not_given_out_is_refused(shared: Front, cursor: str) -> None:
    assert problem_of(await shared.get(f"/v1/audit/events?cursor={cursor}")) == (400, "invalid_request", "")


async def test_reading_begins_at_a_time(front: Front) -> None:
    await front.declare(purpose="x")
    await recorded(front.world)
    await front.declare(purpose="y")
    times = [entry.cursor.partition("-")[0] for entry in await recorded(front.world)]
    assert await said_since(front, "") == await said_since(front, "0") == await said_since(front, times[0]) == ["x", "y"]
    assert await said_since(front, times[1]) == ["y"]
    assert await said_since(front, "9" * 15) == []


async def said_since(front: Front, since: str) -> list[str]:
    """Return what the agents said of their tasks, of the records since a time."""
    return [event["said"] for event in (await front.get(f"/v1/audit/events?since={since}")).json()["events"]]


@pytest.mark.parametrize(
    "since",
    [
        "x",
        "-1",
        "1.5",
        "1e3",
        "24h",
        "%2B1",
        "%201",
        "1%0A",
        "1_000",
        "0x1",
        "null",
        "2027-01-04T10:00Z",
        pytest.param("%D9%A1", id="a digit of another alphabet"),
        pytest.param("9" * 16, id="a time larger than any"),
        pytest.param("9" * 5000, id="a time longer than Python reads"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_time_that_is_none_is_refused(shared: Front, since: str) -> None:
    """By itself, and where a cursor says already where to begin."""
    problem = (400, "invalid_request", "")
    assert problem_of(await shared.get(f"/v1/audit/events?since={since}")) == problem
    assert problem_of(await shared.get(f"/v1/audit/events?cursor=1-1.0&since={since}")) == problem


@pytest.mark.parametrize(
    ("caller", "status"), [("admin", 200), ("watcher", 200), ("olga", 403), ("bot", 403), ("crm", 403), (None, 401)]
)
@pytest.mark.asyncio(loop_scope="module")
async def test_admins_and_auditors_read_the_audit(shared: Front, caller: str | None, status: int) -> None:
    assert (await shared.get("/v1/audit/events", caller)).status_code == status
