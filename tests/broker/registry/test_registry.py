"""The registry in force answers by name, and refuses names that it does not know."""

from pathlib import Path

import pytest

from broker.errors import InvalidScope, InvalidTarget, NotFound, UnauthorizedClient
from broker.registry.registry import Registry
from scopes.scope import Scope
from tests.broker.registry.catalogue import AGENT, WHOLE, load
from tests.broker.world import proven

POOL = AGENT.replace("agents.bot", "agents.pool").replace("ns/support/sa/bot", "pods/*")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load(tmp_path, WHOLE, POOL)


@pytest.mark.parametrize(
    ("workload", "agent"),
    [
        ("spiffe://prod/ns/support/sa/bot", "bot"),
        ("spiffe://prod/pods/a", "pool"),
        ("spiffe://prod/pods/a/b", "pool"),
    ],
)
def test_a_workload_is_one_agent(registry: Registry, workload: str, agent: str) -> None:
    assert registry.agent_of(proven(workload)).name == agent


@pytest.mark.parametrize(
    "workload",
    [
        "",
        "spiffe://prod/ns/support/sa/bots",
        "spiffe://prod/ns/support/sa",
        "spiffe://other/ns/support/sa/bot",
        "spiffe://prod/pods",
        "spiffe://prod/podsx/a",
        "spiffe://prod/service/crm",
    ],
)
def test_a_workload_that_nobody_registered_is_no_agent(registry: Registry, workload: str) -> None:
    """TRAPS 9. What a prefix ends at is not below it, and a service is no agent."""
    with pytest.raises(UnauthorizedClient):
        registry.agent_of(proven(workload))


def test_an_agent_is_found_by_name(registry: Registry) -> None:
    assert registry.agent("bot").record.owner == "jane@example.com"


@pytest.mark.parametrize("name", ["", "Bot", "bots", "jane"])
def test_an_unknown_agent_is_not_found(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound):
        registry.agent(name)


def test_an_audience_names_its_service(registry: Registry) -> None:
    assert registry.service_name("https://crm.test") == "crm"
    assert registry.service_name("https://crm.test/") is None
    assert registry.service_name("crm") is None


def test_an_unknown_task_type_allows_nothing(registry: Registry) -> None:
    assert registry.task_type("nothing") is None
    assert registry.patterns("nothing") == ()


def test_an_unknown_operator_has_no_record(registry: Registry) -> None:
    assert registry.operator("joe") is None


def test_the_catalogue_knows_what_it_says_of_a_scope(registry: Registry) -> None:
    entry = registry.entry(Scope.parse("crm:ticket/4711#reply[subject]"))
    assert (entry.service_name, entry.service.audience) == ("crm", "https://crm.test")
    assert (entry.action.level, entry.action.max_ttl) == ("trigger", 60)


@pytest.mark.parametrize(
    ("scope", "error"),
    [
        ("kb:ticket/1#read", InvalidTarget),
        ("crm:letter/1#read", InvalidTarget),
        ("crm:ticket/1#delete", InvalidScope),
        ("crm:queue/1#reply", InvalidScope),
    ],
)
def test_the_catalogue_refuses_what_it_does_not_know(registry: Registry, scope: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        registry.entry(Scope.parse(scope))
