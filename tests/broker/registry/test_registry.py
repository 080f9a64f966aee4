"""The registry in force answers by name, and refuses names that it does not know."""

from pathlib import Path

import pytest

from broker.errors import InvalidScope, InvalidTarget, NotFound, UnauthorizedClient
from broker.registry.registry import Registry
from broker.workload import Workload
from scopes.scope import Scope
from tests.broker.registry.catalogue import AGENT, SERVICE, TASK, WHOLE, key_of, load, toml_key
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


CI = AGENT.replace("agents.bot", "agents.ci").replace(
    'spiffe = "spiffe://prod/ns/support/sa/bot"',
    'oidc = "github", claims = { repository_id = "74", ref = "refs/heads/main" }',
)
SIGNS = AGENT.replace("agents.bot", "agents.laptop").replace('[{ spiffe = "spiffe://prod/ns/support/sa/bot" }]', "[]")


def token_of(trust: str = "github", **claims: str) -> Workload:
    return Workload(f"{trust}:repo", 0, source="oidc", claims=claims)


def test_a_workload_of_an_issuer_is_the_agent_that_its_claims_say(tmp_path: Path) -> None:
    registry = load(tmp_path, WHOLE, CI)
    good = {"repository_id": "74", "ref": "refs/heads/main", "actor": "jane"}
    assert registry.agent_of(token_of(**good)).name == "ci"
    for other in ({"ref": "refs/heads/mai"}, {"ref": "refs/heads/main2"}, {"repository_id": "740"}, {"repository_id": ""}):
        assert registry.find_agent(token_of(**{**good, **other})) is None
    assert registry.find_agent(token_of(ref="refs/heads/main")) is None
    assert registry.find_agent(token_of("gitlab", **good)) is None
    assert registry.find_agent(token_of(**good)._replace(source="jwt-svid")) is None


def test_the_subject_of_a_token_is_never_taken_for_a_spiffe_id(tmp_path: Path) -> None:
    """TRAPS 9: who issues tokens chooses what stands in them."""
    registry = load(tmp_path, WHOLE, POOL)
    for id in ("spiffe://prod/ns/support/sa/bot", "spiffe://prod/pods/a", "spiffe://prod/service/crm"):
        workload = Workload(id, 0, source="oidc", claims={"sub": id})
        assert registry.find_agent(workload) is None
        assert not registry.is_of_service(workload, "crm")


def test_who_signs_with_a_key_is_the_agent_of_that_name(tmp_path: Path) -> None:
    signs = SIGNS.rstrip("\n") + f"\nkeys = [{toml_key(key_of('laptop'))}]\n"
    registry = load(tmp_path, WHOLE, signs)
    workload = Workload("private-key:laptop", 0, source="private-key")
    assert registry.agent_of(workload).name == "laptop"
    assert registry.find_agent(workload._replace(source="oidc")) is None
    assert registry.find_agent(workload._replace(id="private-key:bot")) is None
    assert len(registry.workload_keys("laptop")) == 1
    assert [len(registry.workload_keys(name)) for name in ("bot", "jane", "nobody", "")] == [0, 0, 0, 0]


def test_a_workload_is_one_of_a_service_by_selector_or_by_key(tmp_path: Path) -> None:
    service = f'[services.kb]\naudience = "https://kb"\nenvironment = "prod"\nowner = "a"\nkeys = [{toml_key(key_of("kb"))}]\n'
    registry = load(tmp_path, WHOLE, service)
    signed = Workload("private-key:kb", 0, source="private-key")
    assert registry.is_of_service(signed, "kb")
    assert not registry.is_of_service(signed, "crm")
    assert not registry.is_of_service(signed._replace(source="oidc"), "kb")
    assert not registry.is_of_service(signed._replace(id="private-key:crm"), "crm")
    assert registry.is_of_service(proven("spiffe://prod/service/crm"), "crm")
    assert not registry.is_of_service(proven("spiffe://prod/service/crm"), "kb")


def test_an_agent_shows_what_it_is_known_by(tmp_path: Path) -> None:
    signs = CI.rstrip("\n") + f"\nkeys = [{toml_key(key_of('ci'))}]\n"
    assert load(tmp_path, WHOLE, signs).agent("ci").workloads == (
        "github: ref=refs/heads/main repository_id=74",
        f"private-key:ci/{key_of('ci').kid}",
    )


def test_what_was_delegated_can_be_held_by_all_to_whom_it_may_be_passed_on(tmp_path: Path) -> None:
    def agent(name: str, *others: str) -> str:
        own = AGENT.replace("agents.bot", f"agents.{name}").replace("sa/bot", f"sa/{name}")
        return own + f"delegates_to = {list(others)}\n"

    texts = (agent("a", "b"), agent("b", "c", "b"), agent("c", "a"), agent("d", "c"), agent("e"))
    registry = load(tmp_path, SERVICE, TASK, *texts)
    assert registry.delegates_of("a") == {"a", "b", "c"}
    assert registry.delegates_of("d") == {"a", "b", "c"}
    assert registry.delegates_of("e") == registry.delegates_of("nobody") == set()
