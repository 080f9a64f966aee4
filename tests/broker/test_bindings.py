"""Which selectors are refused because they could come to mean somebody else, and what is said to write instead (TRAPS 10)."""

import json

import pytest

from broker import bindings
from broker.bindings import Vouching
from broker.registry.records import AgentRecord, Content, Service, UserBinding, WorkloadSelector

ISSUERS = {
    "cluster": Vouching("kubernetes"),
    "github": Vouching("github"),
    "gitlab": Vouching("gitlab"),
    "google": Vouching("generic", ("sub",)),
    "builds": Vouching("generic", ("organization_id", "pipeline_id")),
}
IDS = {"repository_id": "74", "repository_owner_id": "65"}
PROJECT = {"project_id": "20", "namespace_id": "72"}
ACCOUNT = "system:serviceaccount:support:bot"
UID = {"kubernetes.io/serviceaccount/uid": "14ee3fa4"}
NAMES = {"kubernetes.io/namespace": "support", "kubernetes.io/serviceaccount/name": "bot"}


def problems(oidc: str, claims: dict[str, str], *, names_may_be_reused: bool = False) -> list[str]:
    selector = WorkloadSelector(oidc=oidc, claims=claims, names_may_be_reused=names_may_be_reused)
    as_agent = list(bindings.problems_of(Content(agents={"bot": AgentRecord(workloads=(selector,))}), ISSUERS))
    service = Service(audience="https://crm.test", environment="prod", owner="a", workloads=(selector,))
    as_service = list(bindings.problems_of(Content(services={"crm": service}), ISSUERS))
    assert [problem.partition(": ")[2] for problem in as_agent] == [problem.partition(": ")[2] for problem in as_service]
    assert all(problem.startswith("agents.bot.workloads: ") for problem in as_agent)
    assert all(problem.startswith("services.crm.workloads: ") for problem in as_service)
    return as_agent


@pytest.mark.parametrize(
    ("oidc", "claims"),
    [
        ("cluster", UID),
        ("cluster", {"sub": ACCOUNT, **UID}),
        ("github", {**IDS, "ref": "refs/heads/main"}),
        ("github", {**IDS, "environment": "prod"}),
        ("github", {**IDS, "sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}),
        ("github", {**IDS, "job_workflow_ref": "octo-org/x/.github/workflows/oidc.yml@refs/heads/main"}),
        ("github", {"sub": "repo:octo-org@65/octo-repo@74:environment:prod"}),
        ("gitlab", {**PROJECT, "ref_protected": "true"}),
        ("gitlab", {**PROJECT, "environment": "production"}),
        ("google", {"sub": "1075"}),
        ("google", {"sub": "1075", "email": "bot@my-project.iam.gserviceaccount.com"}),
        ("builds", {"organization_id": "1", "pipeline_id": "2"}),
    ],
    ids=json.dumps,
)
def test_a_selector_that_names_one_workload_for_good_is_accepted(oidc: str, claims: dict[str, str]) -> None:
    assert problems(oidc, claims) == []


@pytest.mark.parametrize(
    ("oidc", "claims", "instead"),
    [
        ("github", {"repository": "octo-org/octo-repo"}, "demand repository_id and repository_owner_id"),
        ("github", {"sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}, "demand repository_id and repository_owner_id"),
        ("github", {"sub": "repo:octo-org@65/octo-repo:ref:refs/heads/main"}, "demand repository_id"),
        ("github", {"sub": "repository_owner:octo-org@65/octo-repo@74:x"}, "demand repository_id"),
        ("github", {"repository_id": "74", "ref": "refs/heads/main"}, "demand repository_owner_id"),
        ("github", {"repository_owner_id": "65", "ref": "refs/heads/main"}, "demand repository_id"),
        ("github", {"actor": "octocat"}, "demand repository_id and repository_owner_id"),
        ("github", IDS, "demand one of sub, ref, environment"),
        ("gitlab", {"project_path": "my-group/my-project", "ref": "main"}, "demand project_id and namespace_id"),
        ("gitlab", {"sub": "project_path:my-group/my-project:ref_type:branch:ref:main"}, "demand project_id and namespace_id"),
        ("gitlab", {"user_login": "jane"}, "demand project_id and namespace_id"),
        ("gitlab", PROJECT, "demand one of sub, ref, environment, ref_protected"),
        ("cluster", {"sub": ACCOUNT}, "demand kubernetes.io/serviceaccount/uid, or say names_may_be_reused = true"),
        ("cluster", NAMES, "demand kubernetes.io/serviceaccount/uid"),
        ("google", {"email": "bot@my-project.iam.gserviceaccount.com"}, "lacks sub"),
        ("builds", {"sub": "organization:acme:pipeline:app"}, "lacks organization_id and pipeline_id"),
        ("gihub", {**IDS, "ref": "refs/heads/main"}, "no [[trust.oidc]] has the name 'gihub' (did you mean 'github'?)"),
        ("nothing", {"sub": "x"}, "no [[trust.oidc]] has the name 'nothing'"),
    ],
    ids=json.dumps,
)
def test_a_selector_that_could_come_to_mean_somebody_else_is_refused(oidc: str, claims: dict[str, str], instead: str) -> None:
    (problem,) = problems(oidc, claims)
    assert instead in problem


def test_names_that_may_be_reused_have_to_be_asked_for_and_be_whole() -> None:
    assert problems("cluster", {"sub": ACCOUNT}, names_may_be_reused=True) == []
    assert problems("cluster", NAMES, names_may_be_reused=True) == []
    for part in ({"kubernetes.io/namespace": "support"}, {"kubernetes.io/serviceaccount/name": "bot"}):
        (problem,) = problems("cluster", part, names_may_be_reused=True)
        assert "demand sub" in problem


@pytest.mark.parametrize("oidc", ["github", "gitlab", "google"])
def test_only_on_kubernetes_can_names_that_may_be_reused_be_accepted(oidc: str) -> None:
    (problem,) = problems(oidc, {**IDS, **PROJECT, "sub": "x"}, names_may_be_reused=True)
    assert "for Kubernetes only" in problem


def test_selectors_of_spiffe_are_not_its_concern() -> None:
    agent = AgentRecord(workloads=(WorkloadSelector(spiffe="spiffe://prod/ns/bot"),))
    assert list(bindings.problems_of(Content(agents={"bot": agent}), {})) == []


def test_users_of_a_provider_that_is_not_trusted_are_nobodys() -> None:
    agent = AgentRecord(users=(UserBinding("corp", ("support-portal",)),))
    content = Content(agents={"bot": agent})
    assert list(bindings.problems_of(content, {}, ["corp"])) == []
    for known in (["crop"], []):
        (problem,) = bindings.problems_of(content, {"corp": Vouching("github")}, known)
        assert problem.startswith("agents.bot.users: no [[trust.users]] has the name 'corp'")
