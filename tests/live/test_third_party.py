"""A token is a standard JWT: a library that knows nothing of us verifies it with nothing but the published keys."""

import json
import time
import uuid

import pytest
from authlib.common.urls import add_params_to_qs
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidClaimError
from joserfc.jwk import ECKey, KeySet

from broker.api.subject import ACCESS_TOKEN, TOKEN_EXCHANGE
from broker.api.token import JWT_SPIFFE
from scopes import proof
from scopes.keys import SigningKey
from tests.broker.world import CRM
from tests.live.conftest import Site


@pytest.fixture
def keys(site: Site) -> KeySet:
    return KeySet.import_key_set(json.loads(site.replicas[0].jwks()))


@pytest.fixture
def token(site: Site) -> str:
    answer = site.replicas[0].token(site.svid())
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def registry(site: Site, audience: str = CRM) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": site.issuer},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        client_id={"essential": True, "value": "support-bot"},
        jti={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )


def test_a_third_party_library_verifies_a_token(site: Site, keys: KeySet, token: str) -> None:
    """RFC 9068: type, issuer, audience, times, and what is granted, from the published key set alone."""
    verified = jwt.decode(token, keys, algorithms=["ES256"])
    registry(site).validate(verified.claims)
    assert verified.header["typ"] == "at+jwt"
    assert verified.claims["scope"] == "crm:ticket/4711#read[subject]"
    (detail,) = verified.claims["authorization_details"]
    assert (detail["identifier"], detail["actions"], detail["datatypes"]) == ("crm:ticket/4711", ["read"], ["subject"])


def test_a_third_party_library_refuses_a_token_that_was_changed(keys: KeySet, token: str) -> None:
    header, payload, signature = token.split(".")
    other = ("A" if signature[10] != "A" else "B").join((signature[:10], signature[11:]))
    with pytest.raises(BadSignatureError):
        jwt.decode(f"{header}.{payload}.{other}", keys, algorithms=["ES256"])


def test_a_proof_that_a_third_party_library_signs_binds_a_token(site: Site) -> None:
    """RFC 9449 §4.2: nothing of ours shapes its bytes, but for the nonce."""
    key, replica = ECKey.generate_key("P-256"), site.replicas[0]

    def prove(**more: str) -> str:
        claims = {"jti": str(uuid.uuid4()), "htm": "POST", "htu": f"{site.issuer}/oauth/token", "iat": int(time.time()), **more}
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key.as_dict(private=False)}
        return jwt.encode(header, claims, key)

    asked = replica.token(site.svid(), headers={"DPoP": prove()})
    assert (asked.status_code, asked.json()["error"]) == (400, "use_dpop_nonce")
    answer = replica.token(site.svid(), headers={"DPoP": prove(nonce=asked.headers["dpop-nonce"])})
    assert answer.json()["token_type"] == "DPoP"
    bound_to = jwt.decode(answer.json()["access_token"], KeySet.import_key_set(json.loads(replica.jwks()))).claims["cnf"]
    assert bound_to == {"jkt": key.thumbprint()}


def test_a_third_party_client_exchanges_a_token_for_a_narrower_one(site: Site, keys: KeySet) -> None:
    """RFC 8693: an OAuth client that knows nothing of us, but how this workload proves who it is."""

    def prove(_client: object, _method: str, url: str, headers: dict[str, str], body: str) -> tuple[str, dict[str, str], str]:
        shown = add_params_to_qs(body, [("client_assertion_type", JWT_SPIFFE), ("client_assertion", site.svid())])
        return url, {**headers, "Content-Length": str(len(shown))}, shown

    def asked(scope: str, **more: str) -> dict[str, str]:
        session = OAuth2Session("support-bot", scope=scope, token_endpoint_auth_method=prove)
        answer: dict[str, str] = session.fetch_token(f"{site.replicas[0].url}/oauth/token", **more)
        return answer

    whole = asked("crm:ticket/4711#read[description,subject]", grant_type="client_credentials")
    subject = {"subject_token": whole["access_token"], "subject_token_type": ACCESS_TOKEN}
    part = asked("crm:ticket/4711#read[subject]", grant_type=TOKEN_EXCHANGE, **subject)
    assert (part["issued_token_type"], part["scope"]) == (ACCESS_TOKEN, "crm:ticket/4711#read[subject]")
    above, below = [jwt.decode(each["access_token"], keys).claims for each in (whole, part)]
    assert below["lease"]["path"][:1] == above["lease"]["path"]
    assert below["exp"] <= above["exp"]


def test_a_third_party_library_verifies_our_proofs() -> None:
    key = SigningKey.generate()
    made = proof.make(key, method="GET", url="https://crm.test/tickets/1?page=2", now=1_795_318_537_000, token="t", nonce="n")
    public = ECKey.import_key({name: str(value) for name, value in key.public_jwk.items()})
    verified = jwt.decode(made, public)
    assert (verified.header["typ"], ECKey.import_key(verified.header["jwk"]).thumbprint()) == ("dpop+jwt", key.kid)
    assert {name: verified.claims[name] for name in ("htm", "htu", "iat", "nonce")} == {
        "htm": "GET",
        "htu": "https://crm.test/tickets/1",
        "iat": 1_795_318_537,
        "nonce": "n",
    }


def test_a_third_party_library_refuses_a_token_for_another_service(site: Site, keys: KeySet, token: str) -> None:
    verified = jwt.decode(token, keys, algorithms=["ES256"])
    with pytest.raises(InvalidClaimError):
        registry(site, "https://kb.test").validate(verified.claims)
