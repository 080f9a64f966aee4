"""A token is a standard JWT: a library that knows nothing of us verifies it with nothing but the published keys."""

import json

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidClaimError
from joserfc.jwk import KeySet

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


def test_a_third_party_library_refuses_a_token_for_another_service(site: Site, keys: KeySet, token: str) -> None:
    verified = jwt.decode(token, keys, algorithms=["ES256"])
    with pytest.raises(InvalidClaimError):
        registry(site, "https://kb.test").validate(verified.claims)
