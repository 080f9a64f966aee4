"""SPIFFE bundles as documents (SPIFFE Trust Domain and Bundle §4)."""

import base64
import json
from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from broker.identity.bundle import MAX_BUNDLE_BYTES, Bundle
from scopes.errors import InvalidDocument
from tests.broker.identity.domains import PROD, bundle
from tests.scopes.certificates import Made, authority, leaf, made, rsa_key
from tests.scopes.tokens import private_jwk

ROOT, NEXT = authority("prod"), authority("prod")
SIGNS_WITH_RSA = authority("prod", key=rsa_key())


def x509_jwk(made: Made = ROOT, **changes: Any) -> dict[str, Any]:
    """Write an X.509 authority as a bundle does; `None` takes a member out."""
    algorithm = RSAAlgorithm if made is SIGNS_WITH_RSA else ECAlgorithm
    jwk = {**algorithm.to_jwk(made.key.public_key(), as_dict=True), "use": "x509-svid", "x5c": [encoded(made.der)], **changes}
    return {name: value for name, value in jwk.items() if value is not None and name != "key_ops"}


def encoded(der: bytes) -> str:
    return base64.b64encode(der).decode()


def parsed(*jwks: Any, **members: Any) -> Bundle:
    return Bundle.parse(json.dumps({"keys": jwks, **members}).encode())


def test_a_bundle_holds_the_authorities_of_both_kinds_of_svid() -> None:
    read = parsed(*bundle(PROD)["keys"], x509_jwk(), x509_jwk(NEXT), x509_jwk(SIGNS_WITH_RSA))
    assert read.jwt_authorities.get(PROD.kid) is not None
    assert read.x509_authorities == (ROOT.certificate, NEXT.certificate, SIGNS_WITH_RSA.certificate)
    assert len(read.jwt_authorities) == 1


def test_sequence_and_refresh_hint_are_read() -> None:
    read = parsed(x509_jwk(), spiffe_sequence=7, spiffe_refresh_hint=300, more="ignored")
    assert (read.sequence, read.refresh_hint) == (7, 300)
    assert parsed()[2:] == (None, None)


@pytest.mark.parametrize("use", [None, "sig", "jwt-svid", "X509-SVID", "", 5, ["x509-svid"]])
def test_a_certificate_that_is_not_for_x509_svids_is_left_out(use: Any) -> None:
    """TRAPS 9: what a key is for is said, or it is for nothing (§4.2.2)."""
    assert parsed(x509_jwk(use=use, kid="k")).x509_authorities == ()


@pytest.mark.parametrize("kty", ["OKP", "AKP", "oct", None, 5])
def test_a_key_of_an_unknown_type_is_left_out(kty: Any) -> None:
    """§4.2.1: it has to be ignored, whatever else it is."""
    read = parsed(x509_jwk(kty=kty, x5c="whatever"), x509_jwk())
    assert read.x509_authorities == (ROOT.certificate,)


def test_a_bundle_may_be_empty_and_then_it_verifies_nothing() -> None:
    assert not parsed().has_authorities
    assert not Bundle().has_authorities
    assert parsed(x509_jwk()).has_authorities
    assert parsed(*bundle(PROD)["keys"]).has_authorities


PRIVATE = private_jwk("ES256")


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(x509_jwk(x5c=None), id="no certificate"),
        pytest.param(x509_jwk(x5c=[]), id="an empty list of certificates"),
        pytest.param(x509_jwk(x5c=[encoded(ROOT.der)] * 2), id="two certificates"),
        pytest.param(x509_jwk(x5c=encoded(ROOT.der)), id="a certificate that is no list"),
        pytest.param(x509_jwk(x5c=[5]), id="a number as its certificate"),
        pytest.param(x509_jwk(x5c=["AAAA"]), id="bytes that are no certificate"),
        pytest.param(x509_jwk(x5c=[encoded(ROOT.der)[:-8]]), id="a certificate cut short"),
        pytest.param(x509_jwk(x5c=[f" {encoded(ROOT.der)}"]), id="a certificate with a space"),
        pytest.param(x509_jwk(x5c=[ROOT.pem.decode()]), id="a certificate in PEM"),
        pytest.param(x509_jwk(NEXT, x5c=[encoded(ROOT.der)]), id="a certificate of another key"),
        pytest.param(x509_jwk(leaf(ROOT, "spiffe://prod/bot")), id="a leaf's certificate"),
        pytest.param(x509_jwk(made(None, names=(), ca=None)), id="a certificate that does not say what it is"),
        pytest.param(x509_jwk(crv="P-384"), id="a key of another curve"),
        pytest.param(x509_jwk(x="AA"), id="half a key"),
        pytest.param({**PRIVATE, "use": "x509-svid", "x5c": [encoded(ROOT.der)]}, id="a private key"),
        pytest.param({**PRIVATE, "use": "other"}, id="a private key for something else"),
        pytest.param({"kty": "oct", "k": "AA", "use": "other"}, id="a symmetric key"),
        pytest.param({**bundle(PROD)["keys"][0], "kid": ""}, id="a JWT authority without a kid"),
        pytest.param(5, id="a number as a key"),
    ],
)
def test_a_bundle_with_a_broken_authority_is_refused_as_a_whole(jwk: Any) -> None:
    with pytest.raises(InvalidDocument):
        parsed(*bundle(PROD)["keys"], jwk)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":[],"keys":[]}',
        b'{"keys":[],"spiffe_sequence":true}',
        b'{"keys":[],"spiffe_sequence":"1"}',
        b'{"keys":[],"spiffe_sequence":1.5}',
        b'{"keys":[],"spiffe_sequence":-1}',
        b'{"keys":[],"spiffe_refresh_hint":-1}',
        b'{"keys":[],"spiffe_refresh_hint":"300"}',
        b'{"keys":[],"spiffe_refresh_hint":1e3}',
        b'{"keys":[]}' + b" " * MAX_BUNDLE_BYTES,
    ],
)
def test_what_is_no_bundle_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidDocument):
        Bundle.parse(document)


@pytest.mark.parametrize("largest", [2**63 - 1, 2**64 - 1])
def test_a_sequence_may_be_as_large_as_its_standard_allows(largest: int) -> None:
    """§4.1.1: at least 64 bits."""
    assert parsed(spiffe_sequence=largest).sequence == largest


@pytest.mark.parametrize(("known", "found"), [(None, None), (None, 1), (1, 1), (1, 2), (0, None)])
def test_a_bundle_follows_one_that_is_not_newer(known: int | None, found: int | None) -> None:
    Bundle(sequence=found).follow(Bundle(sequence=known))


@pytest.mark.parametrize(("known", "found"), [(2, 1), (1, 0), (1, None)])
def test_a_bundle_does_not_follow_a_newer_one(known: int | None, found: int | None) -> None:
    with pytest.raises(InvalidDocument, match="went back"):
        Bundle(sequence=found).follow(Bundle(sequence=known))
