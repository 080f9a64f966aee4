"""`POST /v1/leases/consume`, as `WIRE.md` has it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from scopes.constraints import CONSTRAINTS
from tests.broker.acknowledging import body
from tests.broker.counted import ONCE, REGISTRY, THRICE, UNCOUNTED, new_use
from tests.broker.front import Front, opened, problem_of

PATH = "/v1/leases/consume"
# Always the same, for tests have their names from it.
USE = "01M815EF5360ZZ20PMVF6XQF3K"


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker that knows a verifier of the CRM, which enforces everything."""
    async with opened(tmp_path, registry=REGISTRY) as made:
        assert (await made.post("/v1/feed/acknowledgements", body(made.world, enforces=CONSTRAINTS), "crm")).is_success
        yield made


async def issued(front: Front, scope: str = ONCE) -> dict[str, Any]:
    response = await front.token(scope=scope)
    assert response.status_code == 200, response.text
    token: dict[str, Any] = response.json()
    return token


async def consume(front: Front, token: object, use: object = USE, caller: str | None = "crm") -> httpx2.Response:
    return await front.post(PATH, {"token": token, "use": use}, caller)


async def test_a_use_is_counted_and_the_answer_names_it(front: Front) -> None:
    token = await issued(front)
    for _ in range(2):
        response = await consume(front, token["access_token"])
        assert (response.status_code, response.json()) == (200, {"lease": token["lease_id"], "use": USE})


async def test_a_second_use_is_a_conflict(front: Front) -> None:
    token = await issued(front)
    await consume(front, token["access_token"])
    assert problem_of(await consume(front, token["access_token"], new_use())) == (409, "already_used", "")


async def test_a_token_that_may_be_used_so_often_is(front: Front) -> None:
    token = (await issued(front, THRICE))["access_token"]
    assert [(await consume(front, token, new_use())).status_code for _ in range(4)] == [200, 200, 200, 409]


async def test_a_token_that_was_ended_or_is_over_is_gone(front: Front) -> None:
    first, second = await issued(front), await issued(front)
    await front.world.revoke(lease=first["lease_id"])
    assert problem_of(await consume(front, first["access_token"])) == (410, "revoked", "")
    front.world.advance(300_000)
    assert problem_of(await consume(front, second["access_token"])) == (410, "expired", "")


async def test_a_token_that_is_not_counted_is_a_mistake_of_the_caller(front: Front) -> None:
    assert problem_of(await consume(front, (await issued(front, UNCOUNTED))["access_token"])) == (400, "invalid_request", "")


@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_its_workload")),
        ("stranger", (403, "access_denied", "not_its_workload")),
        ("admin", (403, "access_denied", "not_its_workload")),
    ],
    ids=["nobody", "its own agent", "a stranger", "an operator"],
)
async def test_only_its_service_consumes_a_token(front: Front, caller: str | None, answer: Any) -> None:
    """A single-use token burnt by whoever saw it (TRAPS 15a)."""
    token = (await issued(front))["access_token"]
    assert problem_of(await consume(front, token, new_use(), caller)) == answer
    assert (await consume(front, token)).status_code == 200


async def test_what_is_no_token_of_the_service_is_not_found(front: Front) -> None:
    foreign = (await issued(front, "kb:article/1#read"))["access_token"]
    for text in ("x", "", foreign, front.world.svid()):
        assert problem_of(await consume(front, text)) == (404, "not_found", "")


@pytest.mark.parametrize("use", ["", "17", USE.lower(), USE + "A", f"lse_{USE}", None, 17, [USE]], ids=str)
async def test_a_use_that_is_no_ulid_is_refused(front: Front, use: object) -> None:
    token = (await issued(front))["access_token"]
    assert problem_of(await consume(front, token, use)) == (400, "invalid_request", "")
    assert (await consume(front, token)).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {"token": "x"},
        {"use": USE},
        {"token": "x", "use": USE, "count": 2},
        [],
        b'{"token":"x","token":"y","use":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}',
        b"",
    ],
    ids=["no use", "no token", "something more", "a list", "TRAPS 2: a member twice", "nothing"],
)
async def test_a_body_that_is_not_exactly_this_is_refused(front: Front, sent: Any) -> None:
    assert problem_of(await front.post(PATH, sent, "crm")) == (400, "invalid_request", "")


async def test_no_token_is_in_an_answer(front: Front) -> None:
    """I7."""
    token = (await issued(front))["access_token"]
    answers = [await consume(front, token, use) for use in (USE, new_use(), "x")]
    assert not any(part in answer.text for part in token.split(".") for answer in answers)


async def test_without_the_store_nothing_is_counted(front: Front) -> None:
    token = (await issued(front))["access_token"]
    front.deaf = True
    front.world.backend.client.connection_pool.connection_kwargs["server"].connected = False
    response = await consume(front, token)
    assert problem_of(response) == (503, "temporarily_unavailable", "")
    assert response.headers["retry-after"] == "1"


async def test_a_worker_that_is_behind_counts_nothing(front: Front, impatient: None) -> None:
    token = (await issued(front))["access_token"]
    front.deaf = True
    front.world.clock.advance(1_500)
    assert problem_of(await consume(front, token)) == (503, "temporarily_unavailable", "")
