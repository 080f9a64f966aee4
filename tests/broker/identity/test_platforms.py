"""Agents and services known by their platforms' tokens, through the doors that they use."""

from pathlib import Path
from typing import Any

import pytest

from broker.errors import AccessDenied, ConfigurationError, InvalidClient, UnauthorizedClient
from broker.identity import Presented
from broker.identity.platforms import flattened
from broker.selector import ReductionSelector
from scopes.errors import InvalidDocument
from tests.broker.front import Front, claims_of, error_of, problem_of
from tests.broker.identity.platform_tokens import CLUSTER, GITHUB_NEW_SUBJECT, KUBERNETES_CLAIMS, POD_UID
from tests.broker.identity.platform_world import CLAIMS, JWT_BEARER_GRANT, WIKI_UID, asked, granted, platform_world, token
from tests.broker.world import ADMIN, CRM, Backend, World

NAMES = tuple(CLAIMS)


@pytest.fixture
def world(tmp_path: Path, backend: Backend) -> World:
    return platform_world(tmp_path, backend)


@pytest.fixture
def front(world: World) -> Front:
    return Front(world)


@pytest.mark.parametrize("name", NAMES)
async def test_both_ways_in_give_an_agent_its_token(front: Front, name: str) -> None:
    """RFC 7523 §2.1 and §2.2."""
    for ask in (asked, granted):
        answer = await ask(front, token(front.world, name))
        assert answer.status_code == 200, answer.text
        claims = claims_of(answer.json()["access_token"])
        assert claims["client_id"] == f"{name}-bot"
        assert claims["sub"].startswith(f"{name}:")


INSTANCES = {"kubernetes": f"kubernetes:pod/{POD_UID}", "github": "github:run/9876543210", "gitlab": "gitlab:job/302"}


@pytest.mark.parametrize("name", INSTANCES)
async def test_a_token_names_the_pod_or_run_that_holds_it(front: Front, name: str) -> None:
    answer = (await asked(front, token(front.world, name))).json()
    assert claims_of(answer["access_token"])["lease"]["instance"] == INSTANCES[name]
    assert (await front.get(f"/v1/leases/{answer['lease_id']}")).json()["instance"] == INSTANCES[name]


def of_pod(world: World, uid: str) -> str:
    inner = {**KUBERNETES_CLAIMS["kubernetes.io"], "pod": {"name": "bot-2", "uid": uid}}
    return token(world, "kubernetes", **{"kubernetes.io": inner})


async def test_one_pod_is_ended_and_paused_without_its_fleet(front: Front) -> None:
    """TRAPS 25."""
    world = front.world
    lost = (await asked(front, of_pod(world, "lost"))).json()["lease_id"]
    kept = (await asked(front, of_pod(world, "kept"))).json()["lease_id"]
    await world.revoke(instance="kubernetes:pod/lost")
    selector = ReductionSelector(instance="kubernetes:pod/lost")
    await world.broker.reduction.reduce(selector, "paused", "it behaves oddly", ADMIN)
    world.follow()
    assert error_of(await asked(front, of_pod(world, "lost"))) == (400, "unauthorized_client", "paused")
    assert (await asked(front, of_pod(world, "kept"))).status_code == 200
    statuses = [(await front.get(f"/v1/leases/{lease}")).json()["status"] for lease in (lost, kept)]
    assert statuses == ["revoked", "live"]


HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "for the API server's own audience (TRAPS 10)": ("kubernetes", {"aud": [CLUSTER]}),
    "for the token endpoint (TRAPS 8)": ("github", {"aud": "http://127.0.0.1:8750/oauth/token"}),
    "expired": ("github", {"exp": 1}),
    "without an end (TRAPS 2)": ("gitlab", {"exp": None}),
    "of a person (TRAPS 12)": ("gitlab", {"sub": "1"}),
    "of a person who signed in (TRAPS 12)": ("generic", {"nonce": "n"}),
}


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_what_proves_nothing_is_refused_at_every_door(front: Front, hostile: str) -> None:
    name, changes = HOSTILE[hostile]
    text = token(front.world, name, **changes)
    assert error_of(await asked(front, text)) == (401, "invalid_client", "")
    # As a grant it is no authentication of a client (RFC 7523 §3.1).
    assert error_of(await granted(front, text)) == (400, "invalid_grant", "")
    bearer = {"Authorization": f"Bearer {text}"}
    assert problem_of(await front.post("/v1/tasks", {"type": "summarise-ticket"}, None, **bearer))[:2] == (
        401,
        "invalid_client",
    )


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "a repository of the same name, made anew (TRAPS 10)": ("github", {"repository_id": "75"}),
    "a repository that was given to somebody else (TRAPS 10)": ("github", {"repository_owner_id": "66"}),
    "another environment": ("github", {"environment": "test"}),
    "no environment": ("github", {"environment": None}),
    "an environment that begins the same": ("github", {"environment": "production"}),
    "another project": ("gitlab", {"project_id": "21"}),
    "a branch that is not protected": ("gitlab", {"ref_protected": "false"}),
    "another service account of Google": ("generic", {"sub": "107517467455664443767"}),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_a_workload_that_nobody_registered_is_no_agent(front: Front, other: str) -> None:
    name, changes = OTHERS[other]
    text = token(front.world, name, **changes)
    assert error_of(await asked(front, text)) == (400, "unauthorized_client", "")
    assert error_of(await granted(front, text)) == (400, "unauthorized_client", "")


async def test_a_subject_of_either_format_is_the_same_agent(front: Front) -> None:
    """TRAPS 10: the immutable ids stay when `sub` changes its format."""
    for changes in ({}, {"sub": GITHUB_NEW_SUBJECT}):
        answer = await asked(front, token(front.world, "github", **changes))
        assert claims_of(answer.json()["access_token"])["client_id"] == "github-bot"


async def test_two_answers_to_who_calls_are_refused(front: Front) -> None:
    text = token(front.world, "github")
    for changes in ({"client_assertion": text}, {"client_assertion_type": "x"}, {"assertion": None}):
        assert error_of(await granted(front, text, **changes)) == (400, "invalid_request", "")
    assert error_of(await asked(front, text, assertion=text)) == (400, "invalid_request", "")


async def test_only_a_platforms_token_is_a_grant(front: Front) -> None:
    for text in (front.world.svid(), front.world.operator_assertion(), front.human_token(), "x", "a.b.c"):
        assert error_of(await granted(front, text)) == (400, "invalid_grant", "")


async def test_a_platforms_token_is_no_svid_and_the_other_way_round(front: Front) -> None:
    """Even where the issuer writes a SPIFFE id into its subject."""
    named = token(front.world, "generic", sub="spiffe://development.test/agent/support-bot")
    spiffe = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
    assert error_of(await asked(front, named, client_assertion_type=spiffe)) == (401, "invalid_client", "")
    assert error_of(await asked(front, named)) == (400, "unauthorized_client", "")
    assert error_of(await asked(front, front.world.svid())) == (401, "invalid_client", "")
    with pytest.raises(InvalidClient):
        await front.world.broker.callers.agent(Presented(named))


async def test_a_service_is_known_by_its_platforms_token_too(front: Front) -> None:
    callers = front.world.broker.callers
    inner = {**KUBERNETES_CLAIMS["kubernetes.io"], "serviceaccount": {"name": "bot", "uid": WIKI_UID}}
    wiki = Presented(token(front.world, "kubernetes", **{"kubernetes.io": inner}))
    await callers.follower_of(wiki, "https://wiki.test")
    with pytest.raises(AccessDenied):
        await callers.follower_of(wiki, CRM)
    with pytest.raises(AccessDenied):
        await callers.follower_of(Presented(token(front.world, "github")), "https://wiki.test")
    with pytest.raises(UnauthorizedClient):
        await callers.agent(wiki)


async def test_the_server_says_that_it_takes_them(front: Front) -> None:
    document = (await front.get("/.well-known/oauth-authorization-server", None)).json()
    assert JWT_BEARER_GRANT in document["grant_types_supported"]
    assert "private_key_jwt" in document["token_endpoint_auth_methods_supported"]


def test_an_unsafe_selector_stops_the_start_and_is_named(tmp_path: Path, backend: Backend) -> None:
    """TRAPS 10."""
    with pytest.raises(ConfigurationError) as refused:
        platform_world(tmp_path, backend, github={"repository": "octo-org/octo-repo", "ref": "refs/heads/main"})
    (problem,) = refused.value.problems
    assert "agents.github-bot.workloads" in problem
    assert "demand repository_id and repository_owner_id" in problem


def test_agents_of_platforms_show_what_they_are_known_by(world: World) -> None:
    assert world.registry.agent("gitlab-bot").workloads == ("gitlab: namespace_id=72 project_id=20 ref_protected=true",)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({}, {}),
        ({"a": "x", "b": 5, "c": True, "d": None, "e": 1.5, "f": ["x"]}, {"a": "x", "b": "5"}),
        ({"a": {"b": {"c": "x"}, "d": 0}, "a.b": "y"}, {"a/b/c": "x", "a/d": "0", "a.b": "y"}),
        ({"kubernetes.io": {"pod": {"uid": "1"}}}, {"kubernetes.io/pod/uid": "1"}),
        ({"": {"": "x"}}, {"/": "x"}),
    ],
)
def test_claims_are_written_by_path(document: dict[str, Any], found: dict[str, str]) -> None:
    assert flattened(document) == found


@pytest.mark.parametrize(
    "document", [{"a/b": 1, "a": {"b": 1}}, {"a/b": [], "a": {"b": 1}}, {"a/b/c": 1, "a": {"b": {"c": 1}}}]
)
def test_two_claims_of_one_path_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        flattened(document)
