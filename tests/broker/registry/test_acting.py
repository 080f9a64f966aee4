"""Whether agents may still do tasks of these types, one for another and for a user (C4, C5)."""

from pathlib import Path

import pytest

from broker.errors import AccessDenied, BrokerError, UnauthorizedClient
from broker.registry import acting
from broker.registry.registry import Registry
from broker.workload import Workload, key_instance, key_workload
from scopes.keys import thumbprint
from tests.broker.delegating import REGISTRY
from tests.broker.registry.catalogue import key_of, load, toml_key

SUMMARY, SINGLE = "summarise-ticket", "single-ticket"
KEY = key_of("laptop")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return load(tmp_path_factory.mktemp("registry"), REGISTRY)


@pytest.mark.parametrize(
    ("agents", "types", "users"),
    [
        (("support-bot",), (SUMMARY,), ""),
        (("support-bot",), (SUMMARY,), "corp"),
        (("support-bot", "support-bot"), (SUMMARY, SINGLE), "corp"),
        (("support-bot", "helper"), (SUMMARY, SINGLE), "corp"),
        (("support-bot", "helper", "last"), (SUMMARY, SUMMARY, SINGLE), ""),
        (("support-bot", "helper", "support-bot"), (SUMMARY, SUMMARY, SINGLE), ""),
    ],
)
def test_what_the_registry_says_may_be_done(registry: Registry, agents, types, users) -> None:
    acting.check(registry, agents, types, users=users)


@pytest.mark.parametrize(
    ("agents", "types", "users", "refused", "reason"),
    [
        pytest.param((), (), "", AccessDenied, "outside_task_types", id="nobody's task"),
        pytest.param(("support-bot",), (SUMMARY, SINGLE), "", AccessDenied, "outside_task_types", id="half of it is nobody's"),
        pytest.param(("nobody",), (SUMMARY,), "", AccessDenied, "outside_task_types", id="an agent that is not there"),
        pytest.param(("support-bot",), ("nothing",), "", AccessDenied, "outside_task_types", id="another type"),
        pytest.param(
            ("support-bot",) * 2, ("nothing", SUMMARY), "", AccessDenied, "outside_task_types", id="another type above"
        ),
        pytest.param(
            ("support-bot", "last"), (SUMMARY,) * 2, "", UnauthorizedClient, "not_delegated", id="not handed to this one"
        ),
        pytest.param(
            ("helper", "last", "helper"),
            (SUMMARY,) * 3,
            "",
            UnauthorizedClient,
            "not_delegated",
            id="handed back by who may not",
        ),
        pytest.param(
            ("support-bot",), (SUMMARY,), "other", UnauthorizedClient, "not_delegated", id="users of another provider"
        ),
        pytest.param(
            ("helper", "last"), (SUMMARY,) * 2, "corp", UnauthorizedClient, "not_delegated", id="the first acts for no users"
        ),
    ],
)
def test_all_else_may_not(registry: Registry, agents, types, users, refused: type[BrokerError], reason: str) -> None:
    with pytest.raises(refused) as raised:
        acting.check(registry, agents, types, users=users)
    assert raised.value.reason == reason


BINDINGS = f"""
[agents.many]
owner        = "jane@example.com"
purpose      = "Known in several ways"
environment  = "prod"
workloads    = [
  {{ spiffe = "spiffe://development.test/agent/many" }},
  {{ spiffe = "spiffe://development.test/ns/many/*" }},
  {{ oidc = "cluster", claims = {{ sub = "system:serviceaccount:many:bot", uid = "17" }} }},
]
keys         = [{toml_key(KEY)}]
tasks        = ["{SUMMARY}"]
ends         = 2099-06-30
"""


@pytest.mark.parametrize(
    ("workload", "binding"),
    [
        (Workload("spiffe://development.test/agent/many", 0), "spiffe://development.test/agent/many"),
        (Workload("spiffe://development.test/ns/many/sa/one", 0), "spiffe://development.test/ns/many/*"),
        (
            Workload("cluster:x", 0, "oidc", claims={"sub": "system:serviceaccount:many:bot", "uid": "17"}),
            "cluster: sub=system:serviceaccount:many:bot uid=17",
        ),
        (
            Workload(key_workload("many"), 0, "private-key", instance=key_instance("many", thumbprint(KEY.public_jwk))),
            key_instance("many", thumbprint(KEY.public_jwk)),
        ),
        (Workload("spiffe://development.test/agent/another", 0), ""),
        (Workload("cluster:x", 0, "oidc", claims={"sub": "system:serviceaccount:many:bot", "uid": "18"}), ""),
    ],
)
def test_by_what_a_workload_is_an_agents_is_among_what_the_agent_is_known_by(
    tmp_path: Path, workload: Workload, binding: str
) -> None:
    agent = load(tmp_path, REGISTRY, BINDINGS).agent("many")
    assert agent.binding(workload) == binding
    assert binding in (*agent.workloads, "")
