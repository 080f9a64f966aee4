"""Workloads by the tokens of their platform: what is accepted, and everything that is not."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import InvalidClient
from broker.identity import OidcTokens
from tests.broker.identity.hostile_claims import HOSTILE_TO_ALL, moments
from tests.broker.identity.platform_tokens import (
    ACCOUNT_UID,
    CLUSTER,
    GENERIC_CLAIMS,
    GITHUB,
    GITHUB_NEW_SUBJECT,
    GITLAB,
    ISSUER,
    KEYS,
    KUBERNETES_CLAIMS,
    POD_UID,
    Platforms,
    jwks_file,
    platform_claims,
)
from tests.scopes.tokens import b64, compact, new_key

NAMES = ("kubernetes", "github", "gitlab", "generic")


@pytest.fixture
def platforms(tmp_path: Path) -> Platforms:
    return Platforms(tmp_path)


async def check_refused(platforms: Platforms, token: str) -> str:
    with pytest.raises(InvalidClient) as error:
        await platforms.tokens.authenticate(token)
    assert not any(part in str(error.value) for part in token.split(".") if part)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "id", "instance"),
    [
        ("kubernetes", "kubernetes:system:serviceaccount:support:bot", f"kubernetes:pod/{POD_UID}"),
        ("github", "github:repo:octo-org/octo-repo:environment:prod", "github:run/9876543210"),
        ("gitlab", "gitlab:project_path:my-group/my-project:ref_type:branch:ref:main", "gitlab:job/302"),
        ("generic", "generic:107517467455664443766", None),
    ],
)
async def test_a_platforms_token_proves_its_workload(platforms: Platforms, name: str, id: str, instance: str | None) -> None:
    workload = await platforms.tokens.authenticate(platforms.token(name))
    assert (workload.id, workload.instance, workload.source, workload.trust) == (id, instance, "oidc", name)
    assert workload.expires == platforms.clock.seconds + 600
    assert (workload.certificate, workload.claims["sub"]) == (None, id.partition(":")[2])


async def test_claims_are_found_by_path_as_text(platforms: Platforms) -> None:
    claims = (await platforms.tokens.authenticate(platforms.token("kubernetes"))).claims
    assert claims["kubernetes.io/serviceaccount/uid"] == ACCOUNT_UID
    claims = (await platforms.tokens.authenticate(platforms.token("gitlab"))).claims
    assert (claims["runner_id"], claims["project_id"]) == ("1", "20")
    assert "groups_direct" not in claims
    claims = (await platforms.tokens.authenticate(platforms.token("generic"))).claims
    assert claims["google/compute_engine/project_number"] == "739419398126"
    assert "email_verified" not in claims


@pytest.mark.parametrize("audience", [ISSUER, [ISSUER]])
@pytest.mark.parametrize("name", NAMES)
async def test_the_audience_is_the_issuer_as_a_text_or_alone_in_a_list(
    platforms: Platforms, name: str, audience: object
) -> None:
    assert await platforms.tokens.authenticate(platforms.token(name, aud=audience))


async def test_newer_subjects_of_github_hold_their_ids(platforms: Platforms) -> None:
    """TRAPS 10: `sub` changed its format."""
    workload = await platforms.tokens.authenticate(platforms.token("github", sub=GITHUB_NEW_SUBJECT))
    assert workload.id == f"github:{GITHUB_NEW_SUBJECT}"


async def test_a_service_account_without_a_pod_has_no_instance(platforms: Platforms) -> None:
    inner = {name: value for name, value in KUBERNETES_CLAIMS["kubernetes.io"].items() if name != "pod"}
    workload = await platforms.tokens.authenticate(platforms.token("kubernetes", **{"kubernetes.io": inner}))
    assert workload.instance is None


HOSTILE: dict[str, dict[str, Any]] = {
    **HOSTILE_TO_ALL,
    "for the API server's own audience (TRAPS 10)": {"aud": [CLUSTER]},
    "for us and the API server (TRAPS 10)": {"aud": [ISSUER, CLUSTER]},
    "for us twice": {"aud": [ISSUER, ISSUER]},
    "for the token endpoint's URL (TRAPS 8)": {"aud": f"{ISSUER}/oauth/token"},
    "for the issuer with a slash": {"aud": f"{ISSUER}/"},
    "of an issuer with a slash": {"iss": f"{GITHUB}/"},
    "of an issuer in capitals": {"iss": GITHUB.upper()},
    "before all time (TRAPS 4)": {"iat": -(10**30)},
    "valid from a boolean on (TRAPS 4)": {"nbf": True},
    "with a number as its subject": {"sub": 5},
    "with a newline in its subject (TRAPS 26)": {"sub": "a\nb"},
    "with what a person signed in with (TRAPS 12)": {"nonce": "n-0S6_WzA2Mj"},
    "with when a person signed in (TRAPS 12)": {"auth_time": 1311280969},
    "with how a person signed in (TRAPS 12)": {"amr": ["pwd", "mfa"]},
    "with a session of a browser (TRAPS 12)": {"sid": "08a5019c"},
    "with a hash of an access token (TRAPS 12)": {"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"},
    "with the name of a person (TRAPS 12)": {"given_name": "Jane"},
    "with the name a person chose (TRAPS 12)": {"preferred_username": "j.doe"},
    "with a person's address (TRAPS 12)": {"email": "jane@example.com"},
    "with an address that only looks like a service account's (TRAPS 12)": {"email": "jane@gserviceaccount.com.evil.test"},
    "with two claims of one path": {"a/b": "x", "a": {"b": "y"}},
    "with a claim of one path with one that is ignored": {"a/b": True, "a": {"b": "y"}},
    "with claims nested too deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_token_with_other_claims_is_refused(platforms: Platforms, name: str, hostile: str) -> None:
    await check_refused(platforms, platforms.token(name, **moments(platforms.clock.seconds, HOSTILE[hostile])))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "none"}, id="alg none (TRAPS 3)"),
        pytest.param({"alg": "NONE"}, id="alg NONE (TRAPS 3)"),
        pytest.param({"alg": "HS256"}, id="alg HS256 (TRAPS 3)"),
        pytest.param({"alg": "ES384"}, id="alg of another curve (TRAPS 3)"),
        pytest.param({"alg": "RS256"}, id="alg of another kind (TRAPS 3)"),
        pytest.param({"kid": None}, id="no kid"),
        pytest.param({"kid": "x"}, id="kid of nobody"),
        pytest.param({"kid": "../keys"}, id="kid as a path (TRAPS 2)"),
        pytest.param({"typ": "at+jwt"}, id="typ of an access token (TRAPS 1)"),
        pytest.param({"typ": "dpop+jwt"}, id="typ of a proof (TRAPS 1)"),
        pytest.param({"typ": "client-authentication+jwt"}, id="typ of an assertion (TRAPS 1)"),
        pytest.param({"crit": ["exp"]}, id="crit (TRAPS 2)"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
async def test_a_token_with_another_header_is_refused(platforms: Platforms, name: str, header: dict[str, Any]) -> None:
    await check_refused(platforms, platforms.token(name, header=header))


async def test_a_token_without_typ_is_accepted(platforms: Platforms) -> None:
    """As Kubernetes writes them."""
    assert await platforms.tokens.authenticate(platforms.token("kubernetes", header={"typ": None}))


@pytest.mark.parametrize("carrier", ["jwk", "jku", "x5u", "x5c"])
async def test_a_key_that_the_header_brings_along_is_never_looked_at(platforms: Platforms, carrier: str) -> None:
    """TRAPS 2."""
    key = new_key()
    brought: dict[str, Any] = {"jwk": dict(key.public_jwk), "jku": "http://127.0.0.1:1/", "x5u": "file:///x", "x5c": ["AA"]}
    header = {"kid": KEYS["github"].kid, carrier: brought[carrier]}
    await check_refused(platforms, platforms.token("github", key=key, header=header))


async def test_an_issuer_signs_for_itself_only(platforms: Platforms) -> None:
    for signer in NAMES:
        for name in NAMES:
            if signer != name:
                await check_refused(platforms, platforms.token(name, key=KEYS[signer]))


async def test_a_public_key_is_no_secret_to_sign_with(platforms: Platforms) -> None:
    """TRAPS 3."""
    key = KEYS["github"]
    claims = platform_claims("github", platforms.clock.seconds)
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": key.kid}, claims)]
    signature = hmac.new(json.dumps(dict(key.public_jwk)).encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    await check_refused(platforms, ".".join([*parts, b64(signature)]))


@pytest.mark.parametrize("twice", ["iss", "sub", "aud", "repository_id"])
async def test_a_claim_twice_is_refused(platforms: Platforms, twice: str) -> None:
    """TRAPS 2: which of them counts depends on the parser (RFC 8725 §2.4)."""
    claims, key = platform_claims("github", platforms.clock.seconds), KEYS["github"]
    payload = f'{{"{twice}":{json.dumps(claims[twice])},{json.dumps(claims)[1:]}'.encode()
    await check_refused(platforms, compact({"alg": "ES256", "typ": "JWT", "kid": key.kid}, payload, key))


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "a.b", "x" * 9000, '{"payload":"","signatures":[]}'])
async def test_what_is_no_token_is_refused(platforms: Platforms, text: str) -> None:
    with pytest.raises(InvalidClient):
        await platforms.tokens.authenticate(text)


async def test_padding_is_refused(platforms: Platforms) -> None:
    """TRAPS 2."""
    await check_refused(platforms, platforms.token("github") + "=")


KUBERNETES_INNER: dict[str, Any] = KUBERNETES_CLAIMS["kubernetes.io"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("kubernetes", {"sub": "jane"}, id="a person who signed in at the cluster's issuer"),
        pytest.param("kubernetes", {"sub": "system:serviceaccount:support:other"}, id="another account than the one inside"),
        pytest.param("kubernetes", {"sub": "system:serviceaccount:other:bot"}, id="another namespace than the one inside"),
        pytest.param("kubernetes", {"kubernetes.io": None}, id="no service account"),
        pytest.param("kubernetes", {"kubernetes.io": {**KUBERNETES_INNER, "serviceaccount": {"name": "bot"}}}, id="no uid"),
        pytest.param("github", {"repository_id": None}, id="no repository"),
        pytest.param("github", {"repository_owner_id": None}, id="no owner"),
        pytest.param("github", {"run_id": None}, id="no run"),
        pytest.param("github", {"run_id": True}, id="a boolean as its run (TRAPS 4)"),
        pytest.param("gitlab", {"sub": "1", "job_id": None, "pipeline_id": None, "project_id": None}, id="a person of GitLab"),
        pytest.param("gitlab", {"sub": "1"}, id="a person of GitLab as its subject"),
        pytest.param("gitlab", {"job_id": None}, id="no job"),
        pytest.param("gitlab", {"namespace_id": None}, id="no namespace"),
        pytest.param("generic", {"google": None}, id="a person of Google"),
        pytest.param("generic", {"google": {"compute_engine": {"project_id": "other"}}}, id="a workload of somebody else"),
        pytest.param("generic", {"google": "my-project"}, id="a text where there has to be more"),
    ],
)
async def test_what_no_workload_of_the_platform_has_is_refused(
    platforms: Platforms, name: str, changes: dict[str, Any]
) -> None:
    """TRAPS 12: it has to be shown that it is a workload, not only that nobody says it is a person."""
    assert "not the token of a workload" in await check_refused(platforms, platforms.token(name, **changes))


async def test_a_persons_token_of_an_issuer_that_is_trusted_is_refused(platforms: Platforms) -> None:
    """TRAPS 12: as Google gives it to somebody who signed in; for us, so that nothing but its content is wrong."""
    person = {**GENERIC_CLAIMS, "email": "jane@example.com", "name": "Jane Doe", "picture": "https://…", "at_hash": "x"}
    assert "of a person" in await check_refused(platforms, platforms.token("generic", **person))


def with_two_clusters(platforms: Platforms) -> None:
    other = platforms.trust("kubernetes", key="other-cluster")
    platforms.tokens = OidcTokens([*platforms.trusts, other], clock=platforms.clock)


async def test_clusters_with_one_issuer_are_told_apart_by_their_keys(platforms: Platforms) -> None:
    """TRAPS 10: the same issuer text on many clusters."""
    with_two_clusters(platforms)
    one = await platforms.tokens.authenticate(platforms.token("kubernetes"))
    other = await platforms.tokens.authenticate(platforms.token("kubernetes", key=KEYS["other-cluster"]))
    assert (one.trust, other.trust) == ("kubernetes", "other-cluster")
    assert one.id != other.id
    await check_refused(platforms, platforms.token("kubernetes", key=new_key()))


async def test_a_cluster_that_publishes_anothers_key_takes_over_nothing(platforms: Platforms) -> None:
    """It can have the other's workloads refused, for which of the two they are is not sure any more."""
    with_two_clusters(platforms)
    jwks_file(platforms.folder, "other-cluster", KEYS["other-cluster"], KEYS["kubernetes"])
    assert "two workloads" in await check_refused(platforms, platforms.token("kubernetes"))


async def test_a_cluster_that_publishes_anothers_key_id_hinders_nobody(platforms: Platforms) -> None:
    with_two_clusters(platforms)
    key = dict(new_key().public_jwk) | {"kid": KEYS["kubernetes"].kid}
    (platforms.folder / "other-cluster.json").write_text(json.dumps({"keys": [key]}))
    assert (await platforms.tokens.authenticate(platforms.token("kubernetes"))).trust == "kubernetes"
    await check_refused(platforms, platforms.token("kubernetes", key=new_key(), header={"kid": KEYS["kubernetes"].kid}))


async def test_new_keys_of_a_file_count_at_once_and_old_ones_no_more(platforms: Platforms) -> None:
    key = new_key()
    jwks_file(platforms.folder, "gitlab", key)
    assert await platforms.tokens.authenticate(platforms.token("gitlab", key=key))
    await check_refused(platforms, platforms.token("gitlab"))


@pytest.mark.parametrize("broken", ["", "{", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x"}]}'])
async def test_a_file_that_breaks_leaves_the_last_good_keys(platforms: Platforms, broken: str) -> None:
    (platforms.folder / "gitlab.json").write_text(broken)
    assert await platforms.tokens.authenticate(platforms.token("gitlab"))
    assert platforms.tokens.notice.startswith("keys of gitlab: ")
    jwks_file(platforms.folder, "gitlab")
    assert await platforms.tokens.authenticate(platforms.token("gitlab"))
    assert not platforms.tokens.notice
    (platforms.folder / "gitlab.json").unlink()
    assert await platforms.tokens.authenticate(platforms.token("gitlab"))


def test_only_what_is_configured_is_an_issuer(platforms: Platforms) -> None:
    assert platforms.tokens.knows(GITLAB)
    for text in (None, "", "https://evil.test", f"{GITLAB}/", "laptop"):
        assert not platforms.tokens.knows(text)
