"""`/v1/feed/acknowledgements`, `/v1/feed/verifiers`, `/v1/revocations/{id}`: who may say it, and who sees what of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.feed import acknowledgements
from tests.broker.acknowledging import FIRST, body
from tests.broker.front import Front, opened, problem_of
from tests.broker.world import CRM, CRM_WORKLOAD, KB

PATH = "/v1/feed/acknowledgements"
UNKNOWN = "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker whose feed only the services' workloads may follow, as in production."""
    async with opened(tmp_path, changes={"feed_access": "workloads"}) as made:
        made.world.follow()
        yield made


@pytest_asyncio.fixture
async def open_front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker whose feed anyone may follow."""
    async with opened(tmp_path, changes={"feed_access": "anyone"}) as made:
        made.world.follow()
        yield made


async def revoke(front: Front, **selector: str) -> dict[str, Any]:
    asked = {"selector": selector or {"resource": "crm:ticket"}, "reason": "drill"}
    revoked: dict[str, Any] = (await front.post("/v1/revocations", asked)).json()
    front.world.follow()
    return revoked


async def verifiers(front: Front) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await front.get("/v1/feed/verifiers")).json()["verifiers"]
    return found


async def test_a_workload_of_the_service_acknowledges_and_is_shown(front: Front) -> None:
    response = await front.post(PATH, body(front.world), "crm")
    assert (response.status_code, response.json()) == (200, {"counted": True})
    shown = (await front.get("/v1/feed/verifiers")).json()
    (one,) = shown["verifiers"]
    assert one.pop("heard_ms") >= 0
    assert one.pop("age_ms") >= 0
    assert one == {
        "service": "crm",
        "audience": CRM,
        "workload": CRM_WORKLOAD,
        "process": FIRST,
        "authenticated": True,
        "version": "1.2.3",
        "enforces": ["certificate", "fields", "proof"],
        "epoch": shown["epoch"],
        "seq": shown["seq"],
        "lag": 0,
    }


async def test_what_a_process_enforces_is_shown_as_it_says(front: Front) -> None:
    await front.post(PATH, body(front.world, enforces=["single_use", "fields", "of_a_later_version"]), "crm")
    assert [one["enforces"] for one in await verifiers(front)] == [["fields", "of_a_later_version", "single_use"]]
    await front.post(PATH, body(front.world, enforces=[]), "crm")
    assert [one["enforces"] for one in await verifiers(front)] == [[]]


async def test_a_revocation_is_followed_from_open_to_enforced(front: Front) -> None:
    await front.post(PATH, body(front.world), "crm")
    revoked = await revoke(front)
    path = f"/v1/revocations/{revoked['id']}"
    shown = (await front.get(path)).json()
    assert {name: shown[name] for name in ("id", "epoch", "seq")} == {name: revoked[name] for name in ("id", "epoch", "seq")}
    assert (shown["kind"], shown["value"]) == ("resource", "crm:ticket")
    (one,) = shown["verifiers"]
    assert (one["process"], one["state"], one["delay_ms"]) == (FIRST, "open", None)
    assert one["fenced_at"] == shown["committed"] + 31_000
    assert (await verifiers(front))[0]["lag"] == 1
    await front.post(PATH, body(front.world), "crm")
    (one,) = (await front.get(path)).json()["verifiers"]
    assert (one["state"], one["delay_ms"] >= 0) == ("enforced", True)


async def test_a_service_of_which_nobody_is_known_has_a_line_without_a_process(front: Front) -> None:
    revoked = await revoke(front)
    (one,) = (await front.get(f"/v1/revocations/{revoked['id']}")).json()["verifiers"]
    assert [one[name] for name in ("service", "workload", "process", "version", "authenticated", "state")] == [
        "crm",
        None,
        None,
        None,
        False,
        "open",
    ]


async def test_a_process_that_is_only_heard_has_neither_lag_nor_age(front: Front) -> None:
    response = await front.post(PATH, body(front.world, seq=50), "crm")
    assert response.json() == {"counted": False}
    (one,) = await verifiers(front)
    assert (one["epoch"], one["seq"], one["lag"], one["age_ms"]) == ("", -1, None, None)


async def test_who_leaves_is_not_shown_any_more(front: Front) -> None:
    await front.post(PATH, body(front.world), "crm")
    await front.post(PATH, body(front.world, leaving=True), "crm")
    assert await verifiers(front) == []


@pytest.mark.parametrize(
    ("caller", "audience", "answer"),
    [
        (None, CRM, (401, "invalid_client", "")),
        ("bot", CRM, (403, "access_denied", "not_its_workload")),
        ("stranger", CRM, (403, "access_denied", "not_its_workload")),
        ("crm", KB, (403, "access_denied", "not_its_workload")),
        ("crm", "https://nobody.test", (403, "access_denied", "unknown_audience")),
        ("admin", CRM, (403, "access_denied", "not_its_workload")),
        ("watcher", CRM, (403, "access_denied", "not_its_workload")),
    ],
    ids=["nobody", "an agent", "a stranger", "another service", "for nobody", "an admin", "an auditor"],
)
async def test_only_a_workload_of_the_service_acknowledges_for_it(
    front: Front, caller: str | None, audience: str, answer: tuple[int, str, str]
) -> None:
    assert problem_of(await front.post(PATH, body(front.world, aud=audience), caller)) == answer
    assert await verifiers(front) == []


async def test_a_service_that_policy_lets_not_follow_does_not_acknowledge(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "own.cedar").write_text('@id("no-services") forbid (principal is Service, action, resource);')
    async with opened(tmp_path, changes={"feed_access": "workloads"}) as front:
        front.world.follow()
        response = await front.post(PATH, body(front.world), "crm")
    assert problem_of(response) == (403, "access_denied", "forbidden")


async def test_where_anyone_may_follow_anyone_acknowledges_and_is_shown_as_nobody_in_particular(open_front: Front) -> None:
    assert (await open_front.post(PATH, body(open_front.world), None)).json() == {"counted": True}
    (one,) = await verifiers(open_front)
    assert (one["workload"], one["process"], one["authenticated"]) == ("anonymous", FIRST, False)
    response = await open_front.post(PATH, body(open_front.world, aud="https://nobody.test"), None)
    assert problem_of(response) == (403, "access_denied", "unknown_audience")


async def test_who_says_who_it_is_has_to_prove_it_also_where_anyone_may_follow(open_front: Front) -> None:
    said = body(open_front.world)
    refused = await open_front.post(PATH, said, None, Authorization="Bearer nonsense")
    assert problem_of(refused) == (401, "invalid_client", "")
    await open_front.post(PATH, said, "crm")
    assert [one["authenticated"] for one in await verifiers(open_front)] == [True]


@pytest.mark.parametrize(
    "changes",
    [
        {"verifier": "short"},
        {"verifier": "x" * 65},
        {"verifier": "with space"},
        {"verifier": "a/process-of-another"},
        {"verifier": "process-one\n"},
        {"version": ""},
        {"version": "1.0 beta"},
        {"version": "1.0\x1b[2J"},
        {"seq": -1},
        {"seq": "1"},
        {"seq": 1.5},
        {"seq": 2**53 + 1},
        {"as_of": -1},
        {"epoch": "x" * 65},
        {"id": None},
        {"aud": ["https://crm.test"]},
        {"leaving": 1},
        {"enforces": "proof"},
        {"enforces": ["with space"]},
        {"enforces": ["proof,single_use"]},
        {"enforces": ["x" * 33]},
        {"enforces": ["x"] * 17},
        {"enforces": [1]},
        {"unknown": 1},
    ],
    ids=str,
)
async def test_a_body_that_is_no_acknowledgement_is_refused(front: Front, changes: dict[str, Any]) -> None:
    response = await front.post(PATH, {**body(front.world), **changes}, "crm")
    assert problem_of(response) == (400, "invalid_request", "")
    assert await verifiers(front) == []


async def test_too_many_processes_are_refused_with_the_reason(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledgements, "MOST_PROCESSES", 0)
    response = await front.post(PATH, body(front.world), "crm")
    assert problem_of(response) == (429, "temporarily_unavailable", "verifier_processes")
    assert response.headers["retry-after"] == "300"


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
    ],
    ids=["nobody", "an agent", "a service"],
)
@pytest.mark.parametrize("path", ["/v1/feed/verifiers", f"/v1/revocations/{UNKNOWN}"])
async def test_only_operators_see_who_verifies(
    front: Front, path: str, caller: str | None, answer: tuple[int, str, str]
) -> None:
    assert problem_of(await front.get(path, caller)) == answer


@pytest.mark.parametrize("caller", ["admin", "olga", "watcher"])
async def test_whoever_may_watch_sees_them(front: Front, caller: str) -> None:
    revoked = await revoke(front)
    for path in ("/v1/feed/verifiers", f"/v1/revocations/{revoked['id']}"):
        assert (await front.get(path, caller)).status_code == 200


@pytest.mark.parametrize("id", [UNKNOWN, "lse_1", "%00"])
async def test_a_revocation_that_is_not_followed_is_not_found(front: Front, id: str) -> None:
    assert problem_of(await front.get(f"/v1/revocations/{id}")) == (404, "not_found", "")


async def test_without_the_store_nothing_is_said_to_be_enforced(front: Front) -> None:
    revoked = await revoke(front)
    said = body(front.world)
    front.deaf = True
    front.world.backend.client.connection_pool.connection_kwargs["server"].connected = False
    assert (await front.post(PATH, said, "crm")).status_code == 503
    assert (await front.get(f"/v1/revocations/{revoked['id']}")).status_code == 503
    assert (await front.get("/v1/feed/verifiers")).status_code == 503
