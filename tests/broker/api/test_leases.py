"""`/v1/leases`: what is out, and never a token."""

import pytest

from broker.api import pages
from tests.broker.front import Front, problem_of
from tests.broker.world import BOT, OTHER


async def issued(
    front: Front, scope: str = "crm:ticket/4711#read[subject]", *, workload: str = BOT, task: str | None = None
) -> str:
    front.world.follow()
    return (await front.world.issue(scope, workload=workload, task=task)).lease_id


async def listed(front: Front, query: str = "") -> list[str]:
    response = await front.get(f"/v1/leases{query}")
    assert response.status_code == 200, response.text
    return [lease["id"] for lease in response.json()["leases"]]


async def test_a_lease_is_shown_with_what_it_is_for(front: Front) -> None:
    token = (await front.token()).json()
    response = await front.get(f"/v1/leases/{token['lease_id']}")
    lease = response.json()
    assert (lease["agent"], lease["workload"], lease["task"]) == ("support-bot", BOT, token["task_id"])
    assert (lease["scope"], lease["level"], lease["status"]) == ("crm:ticket/4711#read[subject]", "read", "live")
    assert lease["expires"] - lease["issued"] == 300
    assert lease["path"] == [token["task_id"]]


async def test_no_token_is_in_any_answer(front: Front) -> None:
    """I7: leases, never tokens."""
    token = (await front.token()).json()
    for path in (f"/v1/leases/{token['lease_id']}", "/v1/leases", "/v1/audit/events", f"/v1/tasks/{token['task_id']}"):
        text = (await front.get(path)).text
        assert not any(part in text for part in token["access_token"].split("."))


@pytest.mark.parametrize("id", ["lse_01ARZ3NDEKTSV4RRFFQ69G5F00", "lse_x", "tsk_01ARZ3NDEKTSV4RRFFQ69G5F00", "%00", "x" * 500])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_lease_is_not_found(shared: Front, id: str) -> None:
    assert problem_of(await shared.get(f"/v1/leases/{id}")) == (404, "not_found", "")


@pytest.mark.parametrize("path", ["/v1/leases", "/v1/leases/lse_01ARZ3NDEKTSV4RRFFQ69G5F00"])
@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("stranger", (403, "access_denied", "not_registered")),
        ("crm", (403, "access_denied", "not_registered")),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_only_operators_look_at_leases(
    shared: Front, path: str, caller: str | None, answer: tuple[int, str, str]
) -> None:
    assert problem_of(await shared.get(path, caller)) == answer


@pytest.mark.parametrize("caller", ["admin", "olga", "watcher"])
@pytest.mark.asyncio(loop_scope="module")
async def test_every_operator_looks_at_leases(shared: Front, caller: str) -> None:
    assert (await shared.get("/v1/leases", caller)).status_code == 200


@pytest.mark.parametrize(
    ("resource", "found"),
    [
        ("crm", {0, 1}),
        ("kb", {2, 3}),
        ("crm:ticket", {0, 1}),
        ("crm:ticket/1", {0}),
        ("crm:ticket/2", set()),
        ("kb:article/1", {2, 3}),
        ("kb:article/1/2", {3}),
        ("kb:art", set()),
        ("nothing", set()),
    ],
)
async def test_leases_are_listed_below_a_resource(front: Front, resource: str, found: set[int]) -> None:
    """TRAPS 16: below means whole segments."""
    texts = ("crm:ticket/1#read[subject]", "crm:ticket/12#read[subject]", "kb:article/1#read", "kb:article/1/2#read")
    ids = [await issued(front, text) for text in texts]
    assert set(await listed(front, f"?resource={resource}")) == {ids[number] for number in found}


async def test_leases_are_listed_by_agent_and_by_task(front: Front) -> None:
    root = (await front.world.declare()).id
    child = (await front.world.declare(parent=root)).id
    theirs = (await front.world.declare(workload=OTHER)).id
    at_root, at_child = await issued(front, task=root), await issued(front, task=child)
    other = await issued(front, workload=OTHER, task=theirs)
    assert set(await listed(front)) == {at_root, at_child, other}
    assert set(await listed(front, "?agent=support-bot")) == {at_root, at_child}
    assert await listed(front, "?agent=other-bot") == [other]
    assert await listed(front, "?agent=nobody") == []
    assert set(await listed(front, f"?task={root}")) == {at_root, at_child}
    assert await listed(front, f"?task={child}") == [at_child]
    assert await listed(front, f"?agent=other-bot&task={root}") == []
    assert await listed(front, f"?instance={OTHER}") == [other]
    assert await listed(front, "?instance=pod-1") == []


async def test_leases_are_listed_by_where_they_stand(front: Front) -> None:
    world = front.world
    ended, expired = await issued(front), (await world.issue(ttl=1)).lease_id
    await world.revoke(lease=ended)
    live = await issued(front)
    world.advance(2_000)
    await world.broker.scheduler.expire_leases()
    assert await listed(front) == await listed(front, "?status=live") == [live]
    assert await listed(front, "?status=revoked") == [ended]
    assert await listed(front, "?status=expired") == [expired]


async def test_a_lease_that_a_bulk_revocation_ended_is_live_no_more_before_anybody_marked_it(front: Front) -> None:
    """The picture is asked first and the record second."""
    lease = await issued(front)
    await front.world.revoke(agent="support-bot")
    front.world.follow()
    assert await listed(front) == []
    assert (await front.get(f"/v1/leases/{lease}")).json()["status"] == "revoked"


@pytest.mark.parametrize(
    "query",
    [
        "?status=all",
        "?status=",
        "?status=Live",
        "?resource=crm:ticket/*",
        "?resource=crm:ticket/..",
        "?resource=",
        "?resource=" + "x" * 600,
        "?resource=%ff",
        "?cursor=x",
        "?cursor=1",
        "?cursor=1.",
        "?cursor=-1.0",
        "?cursor=64.0",
        "?cursor=0.-1",
        "?cursor=0.1.2",
        "?cursor=%D9%A1.0",
        "?cursor=0." + "9" * 30,
        "?cursor=0." + "9" * 5000,
        "?cursor=" + "9" * 5000 + ".0",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_query_that_means_nothing_is_refused(shared: Front, query: str) -> None:
    """Numbers in other digits, too large for the store, or longer than Python reads are no cursor of ours."""
    assert problem_of(await shared.get(f"/v1/leases{query}")) == (400, "invalid_request", "")


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ten leases fill a page."""
    monkeypatch.setattr(pages, "SIZE", 10)


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize("query", ["", "&agent=support-bot", "&resource=crm:ticket"])
async def test_more_leases_than_a_page_holds_come_page_by_page_each_once(front: Front, query: str) -> None:
    ids = [await issued(front, f"crm:ticket/{number}#read[subject]") for number in range(23)]
    pages = []
    cursor = ""
    while cursor is not None:
        page = (await front.get(f"/v1/leases?cursor={cursor}{query}")).json()
        pages.append([lease["id"] for lease in page["leases"]])
        cursor = page["cursor"]
    assert len(pages) == 3
    assert sorted(id for page in pages for id in page) == sorted(ids)


@pytest.mark.usefixtures("short_pages")
async def test_a_filter_that_little_passes_still_reads_to_the_end(front: Front) -> None:
    for number in range(15):
        await issued(front, f"crm:ticket/{number}#read[subject]", task=None)
    assert len(await listed(front, "?resource=crm:ticket/14")) == 1


@pytest.mark.usefixtures("short_pages")
async def test_a_full_page_at_the_very_end_has_no_cursor_to_nowhere(front: Front) -> None:
    for number in range(10):
        await issued(front, f"crm:ticket/{number}#read[subject]")
    page = (await front.get("/v1/leases?agent=support-bot")).json()
    assert len(page["leases"]) == 10
    cursor = page["cursor"]
    if cursor is not None:
        assert (await front.get(f"/v1/leases?agent=support-bot&cursor={cursor}")).json() == {"leases": [], "cursor": None}


@pytest.mark.usefixtures("impatient")
async def test_a_worker_that_knows_nothing_new_lists_nothing(front: Front) -> None:
    """What is shown as live has to be so by a picture that is young enough."""
    front.world.follow()
    front.deaf = True
    front.world.clock.advance(1_500)
    response = await front.get("/v1/leases")
    assert problem_of(response) == (503, "temporarily_unavailable", "")
    assert response.headers["retry-after"] == "1"
