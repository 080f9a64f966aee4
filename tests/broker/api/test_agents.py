"""`/v1/agents`: who is registered, and where they stand."""

from pathlib import Path

import pytest

from tests.broker.front import Front, opened, problem_of
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
        "owner": "jane@example.com",
        "purpose": "First-line support drafting",
        "environment": "prod",
        "workloads": [BOT],
        "tasks": ["summarise-ticket", "single-ticket"],
        "ends": "2099-06-30",
        "review_by": None,
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
