"""Fields inside others, from the registry into the token and at a real service: for what is read and what is written (D3)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.client import Agent, Refused
from tests.broker.cli.served import Served
from tests.flows.protected import Protected

ORDER = "shop:order/17"
RECORD = {
    "number": 17,
    "customer": {"name": "Jane", "email": "jane@example.com"},
    "lines": [{"article": "lamp", "price": 40}, {"article": "bulb", "price": 4}],
}
REGISTRY = """
[services.shop]
audience    = "https://shop.example.com"
environment = "development"
owner       = "shop-team@example.com"

[services.shop.resources.order]
fields = { number = [], "customer.name" = [], "customer.email" = ["pii"], "lines.article" = [], "lines.price" = ["financial"] }

[services.shop.resources.order.actions]
read  = { level = "read" }
draft = { level = "draft" }

[tasks.pack]
purpose      = "Pack what was ordered"
max_duration = 300
scopes       = ["shop:order/*#read[number,customer.name,lines.article]", "shop:order/*#draft[customer.name,lines.article]"]

[agents.packer]
owner       = "jane@example.com"
purpose     = "Packing"
environment = "development"
workloads   = [{ spiffe = "spiffe://development.test/agent/support-bot" }]
tasks       = ["pack"]
ends        = 2099-06-30
"""
PERMIT = '@id("drafts") permit (principal == Agent::"packer", action in [Action::"draft"], resource is Record);'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    (tmp_path / "registry" / "example.toml").write_text(REGISTRY)
    (tmp_path / "policies" / "shop.cedar").write_text(PERMIT)
    (tmp_path / "policies" / "agents.toml").unlink()
    try:
        yield made.started()
    finally:
        made.end()


@pytest.fixture
def shop(served: Served) -> Iterator[Protected]:
    made = Protected("shop", served.url, "https://shop.example.com", {ORDER: RECORD})
    yield made
    made.close()


async def sent(agent: Agent, shop: Protected, scope: str, record: dict[str, Any] | None = None) -> httpx2.Response:
    async with agent.task("pack") as task:
        return await task.request("POST" if record is not None else "GET", shop.url_of(scope), scope=scope, json=record)


async def test_parts_of_objects_and_of_lists_are_granted_shown_and_refused(agent: Agent, shop: Protected) -> None:
    scope = f"{ORDER}#read[customer.name,lines.article]"
    shown = {"customer": {"name": "Jane"}, "lines": [{"article": "lamp"}, {"article": "bulb"}]}
    assert (await sent(agent, shop, scope)).json() == shown
    for beyond in ("customer.email", "lines.article,lines.price"):
        with pytest.raises(Refused) as refused:
            await sent(agent, shop, f"{ORDER}#read[{beyond}]")
        assert refused.value.reason == "outside_fields"


async def test_what_is_written_has_nothing_beyond_the_granted_parts(agent: Agent, shop: Protected) -> None:
    scope = f"{ORDER}#draft[customer.name,lines.article]"
    assert (await sent(agent, shop, scope, {"customer": {"name": "Joe"}, "lines": [{"article": "lamp"}]})).status_code == 200
    shop.done.clear()
    for record in (
        {"customer": {"name": "Joe", "email": "joe@attacker.test"}},
        {"lines": [{"article": "lamp"}, {"price": 0}]},
        {"customer": None},
        {"number": 18},
    ):
        response = await sent(agent, shop, scope, record)
        assert (response.status_code, response.json()) == (403, {"error": "insufficient_scope"})
    assert shop.done == []


async def test_a_part_of_a_field_that_was_not_asked_for_is_not_there(agent: Agent, shop: Protected) -> None:
    assert (await sent(agent, shop, f"{ORDER}#read[number]")).json() == {"number": 17}
    with pytest.raises(Refused):
        await sent(agent, shop, f"{ORDER}#read[customer]")
