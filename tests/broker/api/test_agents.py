"""`/v1/agents`: who is registered, and where they stand."""

import pytest

from tests.broker.front import Front, problem_of
from tests.broker.world import BOT, REGISTRY, World, fake_backend


async def test_every_agent_is_listed_by_name(front: Front) -> None:
    page = (await front.get("/v1/agents")).json()
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
        "owner": "jane@example.com",
        "purpose": "First-line support drafting",
        "environment": "prod",
        "workloads": [BOT],
        "tasks": ["summarise-ticket", "single-ticket"],
        "ends": "2099-06-30",
        "review_by": None,
        "live_leases": 1,
    }


async def test_an_agent_is_shown_where_it_stands_in_its_life(front: Front) -> None:
    text = REGISTRY.replace('owner        = "joe@example.com"\n', "")
    (front.world.folder / "registry" / "all.toml").write_text(text)
    backend = fake_backend()
    changed = Front(World(front.world.folder, backend, registry=text))
    changed.world.follow()
    assert (await changed.get("/v1/agents/other-bot")).json()["status"] == "declared"
    assert (await changed.get("/v1/agents/other-bot")).json()["missing"] == ["owner"]
    changed.world.advance(80 * 365 * 86_400_000)
    assert (await changed.get("/v1/agents/support-bot")).json()["status"] == "ended"
    await backend.close()


@pytest.mark.parametrize("name", ["nobody", "Support-Bot", "support-bot%00", "%ff", "x" * 300])
async def test_an_unknown_agent_is_not_found(front: Front, name: str) -> None:
    assert problem_of(await front.get(f"/v1/agents/{name}")) == (404, "not_found", "")


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/agents/support-bot"])
@pytest.mark.parametrize(
    ("caller", "answer"),
    [
        (None, (401, "invalid_client", "")),
        ("bot", (403, "access_denied", "not_an_operator")),
        ("crm", (403, "access_denied", "not_registered")),
    ],
)
async def test_only_operators_look_at_agents(front: Front, path: str, caller: str | None, answer: tuple[int, str, str]) -> None:
    assert problem_of(await front.get(path, caller)) == answer


async def test_a_persons_token_looks_at_nothing(front: Front) -> None:
    """TRAPS 12."""
    response = await front.get("/v1/agents", None, Authorization=f"Bearer {front.human_token()}")
    assert problem_of(response) == (401, "invalid_client", "")
    assert response.headers["www-authenticate"] == "Bearer"
