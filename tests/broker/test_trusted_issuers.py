"""Whose tokens are believed, as the settings say it, and what could mean too much."""

import shutil
from pathlib import Path

import pytest

from broker import settings
from broker.errors import ConfigurationError
from broker.settings import Settings
from scopes.clock import SystemClock
from tests.broker.identity.platform_tokens import KEYS, jwks_file
from tests.broker.web import web_authority

TRUST = '[[trust.spiffe]]\ntrust_domain = "prod.example.com"\nbundle = "bundle.json"\n'


def load(folder: Path, *, trust: str) -> Settings:
    (folder / "broker.toml").write_text(f'issuer = "https://broker.test"\n{trust}')
    return settings.load(folder / "broker.toml", environment={})


GITHUB = """
[[trust.oidc]]
name     = "github"
issuer   = "https://token.actions.githubusercontent.com"
platform = "github"
"""
CLUSTER = """
[[trust.oidc]]
name     = "cluster"
issuer   = "https://kubernetes.default.svc.cluster.local"
platform = "kubernetes"
jwks     = "cluster.json"
"""
REVIEW = '[trust.oidc.token_review]\nserver = "https://10.0.0.1"\nca = "ca.crt"\ntoken = "token"\n'
GENERIC = """
[[trust.oidc]]
name          = "google"
issuer        = "https://accounts.google.com"
platform      = "generic"
jwks_uri      = "https://www.googleapis.com/oauth2/v3/certs"
require       = { "google/compute_engine/project_id" = "my-project" }
identified_by = ["sub"]
"""
CORP = """
[[trust.users]]
name     = "corp"
issuer   = "https://login.corp.test"
audience = "https://broker.corp.test"
"""


def test_issuers_alone_are_a_trust(tmp_path: Path) -> None:
    loaded = load(tmp_path, trust=GITHUB + CLUSTER + GENERIC)
    assert [trust.name for trust in loaded.trust.oidc] == ["github", "cluster", "google"]
    assert loaded.trust.oidc[0].audience is None


def test_a_cluster_in_a_private_network_is_asked_where_that_is_said(tmp_path: Path) -> None:
    loaded = load(tmp_path, trust=CLUSTER + "allow_private_addresses = true\n" + REVIEW)
    assert loaded.trust.oidc[0].token_review is not None


@pytest.mark.parametrize(
    ("trust", "problem"),
    [
        (GITHUB.replace('"github"\nissuer', '"GitHub"\nissuer'), "name has to be"),
        (GITHUB.replace('"github"\nissuer', '"spiffe"\nissuer'), "name has to be"),
        (GITHUB.replace('"github"\nissuer', '"private-key"\nissuer'), "name has to be"),
        (GITHUB.replace('"github"\nissuer', '"a:b"\nissuer'), "name has to be"),
        (GITHUB + CLUSTER.replace('"cluster"', '"github"'), "name has to be"),
        (GITHUB.replace('"github"\nissuer', '"prod"\nissuer') + TRUST.replace("prod.example.com", "prod"), "name has to be"),
        (CLUSTER + CLUSTER.replace('"cluster"', '"other"'), "another trust has its issuer and its keys"),
        (GITHUB.replace("https:", "http:"), "issuer: has to be https://HOST"),
        (GITHUB.replace(".com", ".com?x=1"), "issuer: has to be https://HOST"),
        (GITHUB.replace(".com", ".com#x"), "issuer: has to be https://HOST"),
        (GITHUB.replace("https://", "https://user@"), "issuer: has to be https://HOST"),
        (GITHUB.replace('"https://token.actions.githubusercontent.com"', '"github"'), "issuer: has to be https://HOST"),
        (GITHUB + 'audience = ""\n', "audience: is empty"),
        (CLUSTER + 'jwks_uri = "https://k.test/keys"\n', "jwks: goes without jwks_uri"),
        (GITHUB + 'jwks_uri = "http://k.test/keys"\n', "jwks_uri: plain http is for loopback only"),
        (GITHUB + 'jwks_uri = "https://10.0.0.1/keys"\n', "jwks_uri: 10.0.0.1 is in a private network"),
        (CLUSTER + REVIEW, "token_review.server: 10.0.0.1 is in a private network"),
        (GITHUB + REVIEW.replace("10.0.0.1", "k.test"), "token_review: is for Kubernetes only"),
        (GENERIC.replace("require", "# require"), "require and identified_by: a generic issuer needs both"),
        (GENERIC.replace('["sub"]', "[]"), "require and identified_by: a generic issuer needs both"),
        (GENERIC.replace('"my-project"', '""'), "require and identified_by: hold an empty text"),
        (GITHUB + 'require = { sub = "x" }\n', "require and identified_by: are for generic issuers"),
    ],
)
def test_a_trust_in_an_issuer_that_could_mean_too_much_is_refused(tmp_path: Path, trust: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, trust=trust)
    assert any(problem in said for said in refused.value.problems), refused.value.problems


def test_a_trust_becomes_what_authenticates_by_it(tmp_path: Path) -> None:
    jwks_file(tmp_path, "kubernetes")
    (tmp_path / "ca.crt").write_bytes(web_authority().pem)
    shutil.copy(tmp_path / "kubernetes.json", tmp_path / "cluster.json")
    loaded = load(tmp_path, trust=CLUSTER + "allow_private_addresses = true\n" + REVIEW + GITHUB + 'ca = "ca.crt"\n' + GENERIC)
    made = [trust.trusted(issuer=loaded.issuer, at=loaded.path, clock=SystemClock()) for trust in loaded.trust.oidc]
    assert [trust.name for trust in made] == ["cluster", "github", "google"]
    assert {trust.audience for trust in made} == {"https://broker.test"}
    assert [trust.review is not None for trust in made] == [True, False, False]
    assert [len(trust.keys.keys) for trust in made] == [1, 0, 0]
    assert [bool(trust.keys.problem) for trust in made] == [False, True, True]


@pytest.mark.parametrize(
    ("trust", "problem"),
    [
        (CORP.replace('"corp"', '"Corp"'), "trust.users.corp: name has to be".replace("corp", "Corp")),
        (CORP.replace('"corp"', '"private-key"'), "name has to be"),
        (CORP.replace('"corp"', '"github"'), "trust.users.github: name has to be"),
        (CORP.replace('"corp"', '"prod"') + TRUST.replace("prod.example.com", "prod"), "name has to be"),
        (CORP + CORP.replace("broker.corp", "other.corp"), "name has to be"),
        (CORP.replace("https://login", "http://login"), "issuer: has to be https://HOST"),
        (CORP.replace('"https://broker.corp.test"', '""'), "audience: is empty"),
        (CORP.replace("https://login.corp.test", "https://broker.test"), "issuer: is this broker"),
        (CORP + CORP.replace('"corp"', '"staff"'), "another trust has its issuer and audience"),
        (
            GENERIC.replace("accounts.google.com", "login.corp.test") + 'audience = "https://broker.corp.test"\n' + CORP,
            "either",
        ),
        (CORP.replace("broker.corp.test", "broker.test") + GENERIC.replace("accounts.google.com", "login.corp.test"), "either"),
        (CORP + 'jwks = "corp.json"\njwks_uri = "https://k.test/keys"\n', "jwks: goes without jwks_uri"),
        (CORP + 'jwks_uri = "http://k.test/keys"\n', "jwks_uri: plain http is for loopback only"),
        (CORP + 'jwks_uri = "https://10.0.0.1/keys"\n', "jwks_uri: 10.0.0.1 is in a private network"),
        (CORP + 'groups = ""\n', "groups: is empty"),
    ],
)
def test_a_trust_in_users_that_could_mean_too_much_is_refused(tmp_path: Path, trust: str, problem: str) -> None:
    """TRAPS 12, 29: nor is a token ever a person's and a workload's, for one issuer and audience says which."""
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, trust=GITHUB + trust)
    assert any(problem in said for said in refused.value.problems), refused.value.problems


def test_an_audience_for_users_has_no_default(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="audience"):
        load(tmp_path, trust=GITHUB + CORP.replace("audience", "# audience"))


def test_an_issuer_may_vouch_for_workloads_and_for_users_for_two_audiences(tmp_path: Path) -> None:
    loaded = load(tmp_path, trust=GENERIC.replace("accounts.google.com", "login.corp.test") + CORP)
    assert [trust.name for trust in loaded.trust.users] == ["corp"]


def test_a_trust_in_users_becomes_what_reads_their_tokens(tmp_path: Path) -> None:
    jwks_file(tmp_path, "corp", KEYS["generic"])
    loaded = load(tmp_path, trust=GITHUB + CORP + 'jwks = "corp.json"\n')
    (trust,) = [trust.trusted(at=loaded.path, clock=SystemClock()) for trust in loaded.trust.users]
    assert (trust.name, trust.issuer, trust.audience) == ("corp", "https://login.corp.test", "https://broker.corp.test")
    assert (trust.groups, len(trust.keys.keys), trust.keys.problem) == ("groups", 1, "")


def test_users_alone_are_no_way_to_prove_who_one_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nobody could prove who they are"):
        load(tmp_path, trust=CORP)


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_a_file_of_authorities_that_cannot_be_used_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    (trust,) = load(tmp_path, trust=GITHUB + 'ca = "ca.crt"\n').trust.oidc
    with pytest.raises(ConfigurationError, match="not a usable file of authorities"):
        trust.trusted(issuer="https://broker.test", at=lambda name: tmp_path / name, clock=SystemClock())
