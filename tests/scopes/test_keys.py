import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from scopes.errors import InvalidDocument
from scopes.keys import MAX_JWKS_BYTES, SVID_ALGORITHMS, TOKEN_ALGORITHMS, KeySet, SigningKey, VerificationKey, thumbprint
from tests.scopes.tokens import b64, new_key, private_jwk

EC = new_key("ES256").public_jwk
ED = new_key("EdDSA").public_jwk


def parsed(*keys: object, algorithms: frozenset[str] = TOKEN_ALGORITHMS, use: str = "sig") -> KeySet:
    return KeySet.parse(json.dumps({"keys": keys}).encode(), algorithms=algorithms, use=use)


def without(jwk: dict[str, object], name: str) -> dict[str, object]:
    return {member: value for member, value in jwk.items() if member != name}


@pytest.mark.parametrize("alg", sorted(TOKEN_ALGORITHMS))
def test_what_a_key_signs_its_public_part_verifies(alg):
    key = new_key(alg)
    public = VerificationKey(key.public_jwk, algorithms=TOKEN_ALGORITHMS)
    assert (public.alg, public.kid) == (alg, key.kid)
    assert public.verify(key.sign(b"data"), b"data")
    assert not public.verify(key.sign(b"data"), b"date")
    assert not new_public(alg).verify(key.sign(b"data"), b"data")


def new_public(alg: str) -> VerificationKey:
    return VerificationKey(new_key(alg).public_jwk, algorithms=TOKEN_ALGORITHMS)


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), bytes(65), b"\xff" * 64], ids=len)
def test_a_signature_of_nothing_is_wrong(signature):
    """R and S of zero verified everything in one library (CVE-2022-21449)."""
    assert not VerificationKey(EC, algorithms=TOKEN_ALGORITHMS).verify(signature, b"data")


@pytest.mark.parametrize("alg", sorted(TOKEN_ALGORITHMS))
def test_a_signature_has_one_length(alg):
    """A zero in front of R or S is the same number and another text (RFC 7518 §3.4)."""
    key = new_key(alg)
    public, good = VerificationKey(key.public_jwk, algorithms=TOKEN_ALGORITHMS), key.sign(b"data")
    half = len(good) // 2
    assert public.verify(good, b"data")
    assert not any(
        public.verify(bad, b"data") for bad in (b"\0" + good, good[:half] + b"\0" + good[half:], good + b"\0", good[:-1])
    )


def test_a_key_id_is_the_thumbprint_of_rfc_7638():
    """The example of RFC 7638 §3.1, whose `alg` and `kid` do not count."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n"
        "91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    jwk = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
    assert thumbprint(jwk) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "oct", "k": "AA"}, {"kty": []}, {"kty": "EC", "crv": "P-256", "x": "AA"}, {**EC, "y": 5}]
)
def test_a_key_that_lacks_a_member_has_no_thumbprint(jwk):
    with pytest.raises(InvalidDocument):
        thumbprint(jwk)


@pytest.mark.parametrize("alg", sorted(TOKEN_ALGORITHMS))
def test_a_signing_key_shows_its_public_part_only(alg):
    """No secret is ever printed or published (invariant I7)."""
    jwk = private_jwk(alg) | {"key_ops": ["sign"], "of_a_later_standard": "secret"}
    key = SigningKey(jwk)
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "of_a_later_standard"} & key.public_jwk.keys()
    assert (key.public_jwk["alg"], key.public_jwk["use"]) == (key.alg, "sig") == (alg, "sig")
    assert jwk["d"] not in f"{key!r} {key}"


@pytest.mark.parametrize("alg", sorted(TOKEN_ALGORITHMS))
def test_the_public_part_of_a_signing_key_is_taken_by_verifiers(alg):
    """Though the private part is for signing only (RFC 7517 §4.3)."""
    key = SigningKey(private_jwk(alg) | {"key_ops": ["sign"], "kid": "another"})
    assert key.kid == thumbprint(key.public_jwk)
    assert parsed(key.public_jwk).get(key.kid).alg == alg


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param(EC, id="a public key"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "d": "x", "alg": "HS256"}, id="a symmetric key"),
        pytest.param(private_jwk("ES384"), id="a curve that this issuer does not use"),
        pytest.param({**private_jwk("ES256"), "d": "AQ"}, id="a private part of another key"),
        pytest.param({**private_jwk("ES256"), "alg": "RS256"}, id="an algorithm of another type"),
    ],
)
def test_what_is_no_private_key_of_ours_does_not_sign(jwk):
    with pytest.raises(InvalidDocument):
        SigningKey(jwk)


def test_a_refused_key_is_not_quoted():
    """A library's message may hold the key (invariant I7)."""
    jwk = {**private_jwk("ES256"), "x": "c2VjcmV0"}
    with pytest.raises(InvalidDocument) as refusal:
        SigningKey(jwk)
    assert "c2VjcmV0" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_rsa_keys_of_less_than_2048_bits_are_refused():
    """RFC 7518 §3.3."""
    weak = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024), as_dict=True)
    with pytest.raises(InvalidDocument, match="2048"):
        SigningKey(weak)


@pytest.mark.parametrize(
    "jwk", [private_jwk("ES256"), {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}], ids=["private", "symmetric"]
)
def test_a_key_that_signs_is_not_one_to_verify_with(jwk):
    with pytest.raises(InvalidDocument, match="private"):
        VerificationKey({**jwk, "kid": "a"}, algorithms=TOKEN_ALGORITHMS)


def test_an_empty_key_set_verifies_nothing():
    assert len(parsed()) == 0
    assert KeySet().get(EC["kid"]) is None


def test_a_key_is_found_by_its_id_and_by_nothing_else():
    keys = parsed(EC, ED)
    assert keys.get(EC["kid"]).alg == "ES256"
    assert keys.get(ED["kid"]).alg == "EdDSA"
    assert keys.get("") is None
    assert len(keys) == 2


@pytest.mark.parametrize(
    "jwk",
    [
        pytest.param({**EC, "use": "enc"}, id="for encryption (TRAPS 2)"),
        pytest.param({**EC, "key_ops": ["sign"]}, id="key_ops without verify (TRAPS 2)"),
        pytest.param({**EC, "key_ops": []}, id="key_ops empty"),
        pytest.param({**EC, "key_ops": "verify"}, id="key_ops not a list"),
        pytest.param({**EC, "key_ops": None}, id="key_ops null"),
        pytest.param({**EC, "alg": "none"}, id="alg none (TRAPS 3)"),
        pytest.param({**EC, "alg": "HS256"}, id="alg HS256 (TRAPS 3)"),
        pytest.param({**EC, "alg": "ES384"}, id="the algorithm of another curve (TRAPS 3)"),
        pytest.param({**EC, "alg": "RS256"}, id="the algorithm of another type (TRAPS 3)"),
        pytest.param({**EC, "alg": ""}, id="alg empty"),
        pytest.param({**EC, "alg": None}, id="alg null"),
        pytest.param({**EC, "alg": ["ES256"]}, id="alg a list"),
        pytest.param({**EC, "crv": "P-384"}, id="a curve that its alg is not for (TRAPS 3)"),
        pytest.param({**EC, "crv": "secp256k1"}, id="a curve nobody allows"),
        pytest.param({**EC, "crv": []}, id="crv a list"),
        pytest.param({**EC, "kty": {}}, id="kty an object"),
        pytest.param({"kty": "RSA", "crv": "P-256", "kid": "x", "alg": "RS256"}, id="RSA with a curve"),
        pytest.param(without(EC, "kty"), id="no kty"),
        pytest.param(
            new_key("ES256").public_jwk | {"alg": "PS256", "kty": "RSA"}, id="alg PS256, which tokens are not signed with"
        ),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_key_for_something_else_is_left_out_and_the_others_stay(jwk):
    """RFC 7517 §5: keys that are not understood are ignored."""
    keys = parsed(jwk, ED)
    assert len(keys) == 1
    assert keys.get(ED["kid"]) is not None


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([private_jwk("ES256") | {"kid": "a"}], id="a private key"),
        pytest.param([ED, {"kty": "oct", "k": "c2VjcmV0", "kid": "a"}], id="a symmetric key (TRAPS 3)"),
        pytest.param([EC, EC], id="a key id twice"),
        pytest.param([{**ED, "kid": EC["kid"]}, EC], id="two keys of one id"),
        pytest.param([without(EC, "kid")], id="no kid"),
        pytest.param([{**EC, "kid": ""}], id="an empty kid"),
        pytest.param([{**EC, "kid": 5}], id="a number as kid"),
        pytest.param([{**EC, "x": EC["y"], "y": EC["x"]}], id="a point that is not on the curve"),
        pytest.param([{**EC, "x": 5}], id="a number as coordinate"),
        pytest.param([without(EC, "y")], id="no y"),
        pytest.param([{**ED, "x": "AA"}], id="an Ed25519 key too short"),
        pytest.param([5], id="a number for a key"),
    ],
)
def test_a_key_set_with_one_of_these_is_refused_whole(keys):
    with pytest.raises(InvalidDocument):
        parsed(*keys)


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b'{"keys":[],"keys":[]}', b"x" * (MAX_JWKS_BYTES + 1)]
)
def test_what_is_not_a_key_set_is_refused(document):
    with pytest.raises(InvalidDocument):
        KeySet.parse(document, algorithms=TOKEN_ALGORITHMS)


def test_a_key_without_alg_gets_the_one_algorithm_of_its_kind(rsa_key):
    """So that no key is ever accepted under two (TRAPS 3)."""
    bare = [without(key.public_jwk, "alg") for key in (rsa_key, new_key("ES256"), new_key("EdDSA"))]
    keys = parsed(*bare, algorithms=TOKEN_ALGORITHMS | SVID_ALGORITHMS)
    assert [keys.get(jwk["kid"]).alg for jwk in bare] == ["RS256", "ES256", "EdDSA"]


def test_a_bundle_has_to_say_what_its_keys_are_for():
    """A JWT authority without `use: jwt-svid` is not one (TRAPS 9)."""
    svid = {**EC, "use": "jwt-svid"}
    bundle = parsed(without(ED, "use"), svid, {**ED, "use": "sig"}, algorithms=SVID_ALGORITHMS | {"EdDSA"}, use="jwt-svid")
    assert len(bundle) == 1
    assert bundle.get(EC["kid"]) is not None
    assert len(parsed(svid)) == 0
    assert len(parsed(without(EC, "use"))) == 1


def test_a_public_key_is_no_secret_to_verify_with():
    """HS256 signed with the public key's bytes (RFC 8725 §2.1, TRAPS 3)."""
    forged = HMACAlgorithm(HMACAlgorithm.SHA256).sign(b"data", json.dumps(EC).encode())
    assert not VerificationKey(EC, algorithms=TOKEN_ALGORITHMS).verify(forged, b"data")


odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.just(b64(bytes(32)))
    | st.lists(st.text(max_size=3), max_size=2)
)


@given(st.sampled_from([EC, ED]), st.dictionaries(st.sampled_from([*EC, "key_ops", "n", "e"]), odd, max_size=4))
def test_any_key_is_read_left_out_or_refused_and_nothing_else(jwk, changes):
    """Whatever an issuer publishes, the thread that fetches it meets no other error."""
    try:
        assert len(parsed({**jwk, **changes})) <= 1
    except InvalidDocument:
        return


def test_a_key_that_is_made_signs_for_its_public_part_and_is_never_the_same():
    one, another = SigningKey.generate(), SigningKey.generate()
    public = VerificationKey(one.public_jwk, algorithms=frozenset({"ES256"}))
    assert public.verify(one.sign(b"said"), b"said")
    assert not public.verify(another.sign(b"said"), b"said")
    assert one.kid != another.kid
