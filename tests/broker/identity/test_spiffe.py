"""Workloads by their JWT-SVIDs (SPIFFE JWT-SVID §3, §4)."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError, InvalidClient
from broker.identity import BundleFile, JwtSvids, spiffe
from tests.broker.identity.domains import BOT, ISSUER, PROD, PROD_NEXT, STAGE, STRANGER, Domains, authority, bundle
from tests.scopes.tokens import b64, compact


@pytest.fixture
def domains(tmp_path: Path) -> Domains:
    return Domains(tmp_path)


def check_refused(domains: Domains, assertion: str) -> str:
    with pytest.raises(InvalidClient) as error:
        domains.identity.authenticate(assertion)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({}, {}),
        ({"aud": ISSUER}, {}),
        ({"iat": None}, {}),
        ({"jti": "x", "azp": "y", "extra": {"a": [1]}}, {}),
        ({}, {"typ": "JOSE"}),
        ({}, {"typ": "jwt"}),
    ],
    ids=[
        "as SPIRE makes it",
        "audience as a text",
        "without iat",
        "with claims that mean nothing here",
        "typ JOSE",
        "small typ",
    ],
)
def test_an_svid_of_a_trusted_domain_proves_its_workload(
    domains: Domains, changes: dict[str, object], header: dict[str, object]
) -> None:
    workload = domains.identity.authenticate(domains.svid(header=header, **changes))
    assert (workload.id, workload.expires) == (BOT, domains.clock.seconds + 300)


def test_an_svid_without_typ_is_accepted(domains: Domains) -> None:
    assertion = compact({"alg": "ES256", "kid": PROD.kid}, domains.claims(), PROD)
    assert domains.identity.authenticate(assertion).id == BOT


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "RS256"])
def test_an_authority_may_have_any_algorithm_of_the_standard(domains: Domains, alg: str) -> None:
    key = authority(alg)
    domains.write("prod", bundle(key))
    assert domains.identity.authenticate(domains.svid(key)).id == BOT


def moment(domains: Domains, value: Any) -> Any:
    return domains.clock.seconds + value[1] if isinstance(value, tuple) else value


def at(seconds: int) -> tuple[str, int]:
    """Stand for a moment so many seconds from now."""
    return ("at", seconds)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": "https://other.test"}, id="for somebody else"),
        pytest.param({"aud": [ISSUER, "https://other.test"]}, id="for somebody else too (TRAPS 2)"),
        pytest.param({"aud": [ISSUER, ISSUER]}, id="for us twice"),
        pytest.param({"aud": []}, id="for nobody"),
        pytest.param({"aud": None}, id="without an audience"),
        pytest.param({"aud": f"{ISSUER}/oauth/token"}, id="for the token endpoint's URL (TRAPS 8)"),
        pytest.param({"aud": f"{ISSUER}/"}, id="for the issuer with a slash"),
        pytest.param({"aud": ISSUER.upper()}, id="for the issuer in capitals"),
        pytest.param({"aud": [ISSUER, 5]}, id="for a number"),
        pytest.param({"aud": {"aud": ISSUER}}, id="for an object"),
        pytest.param({"exp": at(0)}, id="expired this second"),
        pytest.param({"exp": at(-3600)}, id="expired long ago"),
        pytest.param({"exp": None}, id="without an end"),
        pytest.param({"exp": "9999999999"}, id="with a text as its end"),
        pytest.param({"exp": True}, id="with a boolean as its end (TRAPS 4)"),
        pytest.param({"exp": 9999999999.0}, id="with a float as its end"),
        pytest.param({"exp": 10**30}, id="with an end beyond all time (TRAPS 2)"),
        pytest.param({"exp": 2**40}, id="with an end in milliseconds"),
        pytest.param({"exp": -1}, id="with an end before time"),
        pytest.param({"exp": [9999999999]}, id="with a list as its end"),
        pytest.param({"iat": at(31)}, id="from the future"),
        pytest.param({"iat": "now"}, id="issued at a text"),
        pytest.param({"nbf": at(31)}, id="not valid yet"),
        pytest.param({"nbf": False}, id="valid from a boolean on"),
        pytest.param({"sub": None}, id="without a subject"),
        pytest.param({"sub": 5}, id="with a number as its subject"),
        pytest.param({"sub": "spiffe://other.example.com/bot"}, id="of a domain that nobody trusts"),
        pytest.param({"sub": "spiffe://stage/bot"}, id="of another trusted domain (TRAPS 9)"),
        pytest.param({"sub": f"{BOT}?admin=1"}, id="with a query in its subject"),
        pytest.param({"sub": "spiffe://prod/ns/../bot"}, id="with a dot segment in its subject"),
        pytest.param({"sub": "spiffe://prod/ns/%2e%2e/bot"}, id="with an encoded dot segment in its subject (TRAPS 16)"),
        pytest.param({"sub": "spiffe://PROD/bot"}, id="with an upper-case domain in its subject"),
        pytest.param({"sub": "spiffe://prod"}, id="with no path in its subject"),
        pytest.param({"sub": "spiffe://prod/"}, id="with an empty path in its subject"),
        pytest.param({"sub": f"{BOT}\n"}, id="with a newline after its subject"),
        pytest.param({"sub": "bot"}, id="with a name as its subject"),
    ],
)
def test_an_svid_with_other_claims_is_refused(domains: Domains, changes: dict[str, Any]) -> None:
    changes = {name: moment(domains, value) for name, value in changes.items()}
    check_refused(domains, domains.svid(**changes))


@pytest.mark.parametrize("changes", [{"iat": at(30)}, {"nbf": at(30)}, {"exp": at(1)}])
def test_an_svid_is_accepted_up_to_its_last_second_and_within_the_skew(domains: Domains, changes: dict[str, Any]) -> None:
    """`DESIGN.md` 5: thirty seconds on the beginning, none on the end."""
    changes = {name: moment(domains, value) for name, value in changes.items()}
    assert domains.identity.authenticate(domains.svid(**changes)).id == BOT


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "none"}, id="alg none"),
        pytest.param({"alg": "None"}, id="alg None"),
        pytest.param({"alg": "ES384"}, id="alg of another curve"),
        pytest.param({"alg": "RS256"}, id="alg of another kind"),
        pytest.param({"alg": "HS256"}, id="alg HS256"),
        pytest.param({"alg": 5}, id="alg that is no text"),
        pytest.param({"kid": STRANGER.kid}, id="kid of nobody"),
        pytest.param({"kid": STAGE.kid}, id="kid of another domain"),
        pytest.param({"kid": f"../{PROD.kid}"}, id="kid as a path"),
        pytest.param({"kid": ["x"]}, id="kid that is no text"),
        pytest.param({"crit": ["exp"]}, id="crit"),
        pytest.param({"crit": []}, id="empty crit"),
        pytest.param({"crit": None}, id="crit null"),
        pytest.param({"typ": "at+jwt"}, id="typ of an access token (TRAPS 1)"),
        pytest.param({"typ": "dpop+jwt"}, id="typ of a proof"),
        pytest.param({"typ": "revocations+jwt"}, id="typ of a feed message"),
        pytest.param({"typ": "application/jwt"}, id="typ nobody agreed on"),
    ],
)
def test_an_svid_with_another_header_is_refused(domains: Domains, header: dict[str, object]) -> None:
    """TRAPS 1 to 3."""
    check_refused(domains, domains.svid(header=header))


@pytest.mark.parametrize("carrier", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_header_brings_along_is_never_looked_at(domains: Domains, carrier: str) -> None:
    """TRAPS 2: the signature is right under the key in the header, and that counts for nothing."""
    brought: dict[str, object] = {
        "jwk": dict(STRANGER.public_jwk),
        "jku": "http://127.0.0.1:1/",
        "x5u": "file:///x",
        "x5c": ["AA"],
    }
    check_refused(domains, domains.svid(STRANGER, header={"kid": PROD.kid, carrier: brought[carrier]}))


def test_a_signature_of_somebody_else_is_refused(domains: Domains) -> None:
    assert "signature" in check_refused(domains, domains.svid(STRANGER, header={"kid": PROD.kid}))


def test_the_bundle_is_that_of_the_subjects_domain_and_not_of_the_key(domains: Domains) -> None:
    """TRAPS 9: a domain that we trust signs for another one that we trust."""
    assert "not known" in check_refused(domains, domains.svid(STAGE))
    assert "not known" in check_refused(domains, domains.svid(STAGE, iss="https://prod"))
    assert domains.identity.authenticate(domains.svid(STAGE, sub="spiffe://stage/bot")).id == "spiffe://stage/bot"


def test_a_public_key_is_no_secret_to_sign_with(domains: Domains) -> None:
    """TRAPS 3: HS256 with the bytes of the public key, which everybody has."""
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": PROD.kid}, domains.claims())]
    signing_input = ".".join(parts)
    secret = json.dumps(dict(PROD.public_jwk)).encode()
    signature = hmac.new(secret, signing_input.encode(), hashlib.sha256).digest()
    check_refused(domains, f"{signing_input}.{b64(signature)}")


@pytest.mark.parametrize("twice", ["sub", "aud", "exp"])
def test_a_claim_twice_is_refused(domains: Domains, twice: str) -> None:
    """TRAPS 2: which of them counts depends on the parser (RFC 8725 §2.4)."""
    text = json.dumps(domains.claims())
    value = json.dumps(domains.claims()[twice])
    payload = f'{{"{twice}":{value},{text[1:]}'.encode()
    check_refused(domains, compact({"alg": "ES256", "typ": "JWT", "kid": PROD.kid}, payload, PROD))


def test_a_header_member_twice_is_refused(domains: Domains) -> None:
    header = f'{{"alg":"none","alg":"ES256","typ":"JWT","kid":"{PROD.kid}"}}'.encode()
    check_refused(domains, compact(header, domains.claims(), PROD))


def mangled(assertion: str) -> dict[str, str]:
    header, payload, signature = assertion.split(".")
    return {
        "nothing": "",
        "no signature": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "four parts": f"{assertion}.x",
        "padding": f"{header}.{payload}.{signature}==",
        "a newline at the end": f"{assertion}\n",
        "a space before": f" {assertion}",
        "a letter outside the alphabet": f"{header}.{payload}.{signature[:-1]}+",
        "text outside ASCII": f"{header}.{payload}.{signature}é",
        "half a letter": f"{header}.{payload}.{signature}\ud800",
        "a JSON serialisation": json.dumps({"protected": header, "payload": payload, "signature": signature}),
        "a signature cut short": f"{header}.{payload}.{signature[:-4]}",
        "another payload": f"{header}.{b64(json.dumps({'sub': BOT}).encode())}.{signature}",
        "a scheme before it": f"Bearer {assertion}",
    }


@pytest.mark.parametrize("variant", list(mangled("a.b.c")))
def test_what_is_not_one_compact_jws_is_refused(domains: Domains, variant: str) -> None:
    check_refused(domains, mangled(domains.svid())[variant])


def test_an_assertion_that_is_too_large_is_refused(domains: Domains) -> None:
    assert "larger than 8192 bytes" in check_refused(domains, domains.svid(extra="x" * 8192))


@pytest.mark.parametrize(
    "document", [b"null", b"[]", b"5", b'"text"', b"{", b"[" * 4000], ids=["null", "list", "number", "text", "half", "deep"]
)
def test_claims_that_are_no_object_are_refused(domains: Domains, document: bytes) -> None:
    check_refused(domains, compact({"alg": "ES256", "typ": "JWT", "kid": PROD.kid}, document, PROD))


def test_a_persons_token_is_no_workloads_identity(domains: Domains) -> None:
    """TRAPS 12: an OpenID Connect token of somebody who signed in, even by a key we trust."""
    check_refused(
        domains, domains.svid(iss="https://accounts.test", sub="jane", email="jane@example.com", nonce="n", azp="web")
    )


def test_no_part_of_an_assertion_is_in_the_refusal(domains: Domains) -> None:
    """I7."""
    assertion = domains.svid(exp="s3cret-claim")
    for error in (check_refused(domains, assertion), check_refused(domains, assertion[:-2])):
        assert not any(part in error for part in (*assertion.split("."), "s3cret"))


def test_an_assertion_shown_again_is_accepted_until_it_expires(domains: Domains) -> None:
    """An SVID is reused by its owner while it lives; a remembered one ends at the same moment."""
    assertion = domains.svid()
    assert domains.identity.authenticate(assertion) == domains.identity.authenticate(assertion)
    domains.clock.advance(299_999)
    assert domains.identity.authenticate(assertion).id == BOT
    domains.clock.advance(1)
    assert "expired" in check_refused(domains, assertion)


def test_a_remembered_assertion_is_not_its_neighbour(domains: Domains) -> None:
    assertion = domains.svid()
    domains.identity.authenticate(assertion)
    check_refused(domains, assertion[:-1] + ("A" if assertion[-1] != "A" else "B"))


def test_a_new_bundle_brings_new_keys_in_and_takes_old_ones_out(domains: Domains) -> None:
    old, new = domains.svid(), domains.svid(PROD_NEXT)
    check_refused(domains, new)
    domains.write("prod", bundle(PROD_NEXT))
    assert domains.identity.authenticate(new).id == BOT
    assert "not known" in check_refused(domains, old)


def test_a_remembered_assertion_ends_with_its_authority(domains: Domains) -> None:
    """A stolen authority is taken out of the bundle; what it signed must not live on in a cache."""
    assertion = domains.svid()
    assert domains.identity.authenticate(assertion).id == BOT
    domains.write("prod", bundle(PROD_NEXT))
    assert "not known" in check_refused(domains, assertion)


def test_a_remembered_assertion_outlives_the_change_of_another_authority(domains: Domains) -> None:
    assertion = domains.svid()
    domains.identity.authenticate(assertion)
    domains.write("prod", bundle(PROD, PROD_NEXT))
    assert domains.identity.authenticate(assertion).id == BOT


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half written"),
        pytest.param({"keys": []}, id="without keys"),
        pytest.param(bundle(PROD_NEXT, use="sig"), id="without use jwt-svid (TRAPS 9)"),
        pytest.param({"keys": bundle(PROD_NEXT)["keys"] * 2}, id="a key twice"),
        pytest.param(bundle(PROD_NEXT, d="AA"), id="with a private key"),
        pytest.param(None, id="gone"),
    ],
)
def test_a_broken_new_bundle_leaves_the_last_good_one(domains: Domains, broken: object) -> None:
    """TRAPS 5: a failed read must not empty the keys."""
    if broken is None:
        domains.path("prod").unlink()
    else:
        domains.write("prod", broken)
    assert domains.identity.authenticate(domains.svid()).id == BOT
    check_refused(domains, domains.svid(PROD_NEXT))
    domains.write("prod", bundle(PROD_NEXT))
    assert domains.identity.authenticate(domains.svid(PROD_NEXT)).id == BOT


@pytest.mark.parametrize("changes", [{"use": "sig"}, {"use": None}, {"use": "x509-svid"}, {"key_ops": ["sign"]}])
def test_a_key_that_is_not_for_jwt_svids_signs_none(domains: Domains, changes: dict[str, object]) -> None:
    """TRAPS 9: SPIFFE demands `use: jwt-svid`; a key for X.509-SVIDs or none stated is not one."""
    document = bundle(PROD)
    document["keys"] += bundle(PROD_NEXT, **changes)["keys"]
    domains.write("prod", document)
    assert domains.identity.authenticate(domains.svid()).id == BOT
    check_refused(domains, domains.svid(PROD_NEXT))


@pytest.mark.parametrize(
    "content",
    [None, b"", b"[]", b'{"keys": []}', json.dumps(bundle(PROD, use=None)).encode(), b'{"keys": [{"use": "jwt-svid"}]}'],
    ids=["missing", "empty", "a list", "no keys", "no jwt-svid key", "a key of no type"],
)
def test_a_domain_begins_with_a_usable_bundle_or_not_at_all(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bundle.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"bundle\.json"):
        BundleFile(path)


def test_who_trusts_nobody_authenticates_nobody(domains: Domains) -> None:
    identity = JwtSvids([], audience=ISSUER, clock=domains.clock)
    with pytest.raises(InvalidClient):
        identity.authenticate(domains.svid())


def test_what_is_remembered_is_bounded(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spiffe, "MAX_REMEMBERED", 2)
    assertions = [domains.svid(jti=str(number)) for number in range(4)]
    for assertion in assertions * 2:
        assert domains.identity.authenticate(assertion).id == BOT
    domains.write("prod", bundle(PROD_NEXT))
    for assertion in assertions:
        check_refused(domains, assertion)
