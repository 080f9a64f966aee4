import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes import jose
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet, VerificationKey
from tests.scopes.tokens import b64, compact, header_of, new_key

KEY = new_key()
KEYS = KeySet([VerificationKey(KEY.public_jwk, algorithms=TOKEN_ALGORITHMS)])
GOOD = jose.write(b"{}", type="at+jwt", key=KEY)
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def verified(text: str | bytes, **limits: int) -> bytes:
    return jose.read(text, types=frozenset({"at+jwt"}), **limits).verified_payload(KEYS)


def signed(payload: bytes = b"{}", **header: object) -> str:
    return compact(header_of(KEY, **header), payload, KEY)


@given(st.binary(min_size=1, max_size=100))
def test_what_is_written_is_read(payload):
    assert verified(jose.write(payload, type="at+jwt", key=KEY)) == payload


def test_bytes_are_read_as_text_is():
    assert verified(GOOD.encode()) == b"{}"


def test_the_header_names_type_algorithm_and_key():
    written = json.loads(base64.urlsafe_b64decode(HEADER + "=="))
    assert written == {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(f"{HEADER}.{PAYLOAD}", id="two segments"),
        pytest.param(f"{HEADER}.{PAYLOAD}.", id="no signature (alg none, TRAPS 3)"),
        pytest.param(f"{HEADER}..{SIGNATURE}", id="a detached payload"),
        pytest.param(compact(header_of(KEY), b"", KEY), id="an empty payload, signed"),
        pytest.param(f".{PAYLOAD}.{SIGNATURE}", id="no header"),
        pytest.param(f"{GOOD}.{SIGNATURE}", id="four segments"),
        pytest.param(f"{GOOD}.a.b", id="five segments, an encrypted token"),
        pytest.param(GOOD + "==", id="padding (TRAPS 2)"),
        pytest.param(GOOD + "\n", id="a line end"),
        pytest.param(" " + GOOD, id="a space before"),
        pytest.param("Bearer " + GOOD, id="a scheme before"),
        pytest.param(GOOD.replace(".", "\u2024"), id="dots that look like dots"),
        pytest.param(f"{HEADER}+.{PAYLOAD}.{SIGNATURE}", id="the other base64 alphabet"),
        pytest.param(f"{HEADER}.{PAYLOAD}.{SIGNATURE}A", id="a length that base64 cannot have"),
        pytest.param("\udce9" + GOOD, id="half a character"),
        pytest.param(
            json.dumps({"protected": HEADER, "payload": PAYLOAD, "signature": SIGNATURE}), id="the JSON form (RFC 7515 §7.2)"
        ),
    ],
)
def test_only_the_compact_form_is_read(text):
    with pytest.raises(InvalidDocument):
        verified(text)


@pytest.mark.parametrize("junk", ["!!!!", "++++", "////", "====", "    ", "\n\n\n\n", "\0\0\0\0", "éééé"])
def test_characters_that_mean_nothing_are_not_skipped(junk):
    """A lenient decoder would read the same signature from many texts (RFC 4648 §3.3, TRAPS 2)."""
    with pytest.raises(InvalidDocument):
        verified(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:20]}{junk}{SIGNATURE[20:]}")
    with pytest.raises(InvalidDocument):
        verified(f"{HEADER}.{PAYLOAD}.{SIGNATURE[:20]}{junk}{SIGNATURE[20:]}".encode("latin-1"))


def test_bytes_that_are_no_ascii_are_refused():
    with pytest.raises(InvalidDocument):
        verified(b"\xff" + GOOD.encode())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_message_has_one_spelling(index):
    """Bits after the last byte must be zero (RFC 4648 §3.5), or one token would have many hashes (TRAPS 2)."""
    text = compact(header_of(KEY, typ="at+jwt"), b"{}", KEY)
    segments = text.split(".")
    segment = segments[index]
    if len(segment) % 4 == 0:
        pytest.skip("this segment has no spare bits")
    spare = {URL_SAFE[(URL_SAFE.index(segment[-1]) & ~3) | bits] for bits in range(1, 4)} - {segment[-1]}
    for last in spare:
        segments[index] = segment[:-1] + last
        with pytest.raises(InvalidDocument, match="base64url"):
            verified(".".join(segments))


@given(st.text(URL_SAFE, min_size=1, max_size=12))
def test_a_payload_is_read_only_in_the_spelling_its_bytes_are_written_in(segment):
    signing_input = f"{HEADER}.{segment}"
    try:
        payload = verified(f"{signing_input}.{b64(KEY.sign(signing_input.encode()))}")
    except InvalidDocument:
        return
    assert b64(payload) == segment


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"crit": ["exp"]}, id="an extension (RFC 7515 §4.1.11)"),
        pytest.param({"crit": []}, id="an empty list"),
        pytest.param({"crit": None}, id="null"),
        pytest.param({"crit": False}, id="false"),
        pytest.param({"crit": ["b64"], "b64": False}, id="an unencoded payload (RFC 7797)"),
    ],
)
def test_crit_is_refused_whatever_it_says(header):
    with pytest.raises(InvalidDocument, match="critical"):
        verified(signed(**header))


@pytest.mark.parametrize("changes", [{"alg": 5}, {"alg": None}, {"kid": None}, {"kid": ["a"]}, {"typ": 1}])
def test_a_header_of_other_types_is_refused(changes):
    with pytest.raises(InvalidDocument):
        verified(signed(**changes))


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_a_header_without_algorithm_key_or_type_is_refused(name):
    header = {member: value for member, value in header_of(KEY).items() if member != name}
    with pytest.raises(InvalidDocument):
        verified(compact(header, b"{}", KEY))


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"null", b"not json", b'{"alg":"ES256","kid":"a","typ":"at+jwt","typ":"at+jwt"}']
)
def test_a_header_that_is_no_strict_json_object_is_refused(header):
    with pytest.raises(InvalidDocument):
        verified(compact(header, b"{}", KEY))


def test_a_header_of_more_than_two_kibibytes_is_refused():
    with pytest.raises(InvalidDocument, match="larger"):
        verified(signed(x5c="A" * jose.MAX_HEADER_BYTES))


def test_the_type_is_compared_whatever_its_case_and_never_guessed():
    """RFC 7515 §4.1.9: a media type; an absent one is accepted only where that is said (RFC 8725 §3.11)."""
    assert verified(signed(typ="AT+JWT")) == b"{}"
    untyped = compact({"alg": "ES256", "kid": KEY.kid}, b"{}", KEY)
    assert jose.read(untyped, types=frozenset({None})).unverified_header.typ is None
    for typ in ("JWT", "at+jwt ", "", "x-at+jwt"):
        with pytest.raises(InvalidDocument, match="type"):
            verified(signed(typ=typ))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", "HS256", "RS256", "PS256", "ES384", "EdDSA", "es256", "ES256 ", ""]
)
def test_a_key_verifies_under_its_own_algorithm_only(alg):
    """TRAPS 3, RFC 8725 §3.1."""
    with pytest.raises(InvalidDocument, match="algorithm"):
        verified(signed(alg=alg))


def test_a_key_in_the_header_is_not_looked_at():
    """`jwk`, `jku`, `x5u` and `x5c` bring the attacker's own key (RFC 8725 §3.10)."""
    stranger = new_key()
    header = header_of(stranger, jwk=stranger.public_jwk, jku="http://127.0.0.1:1/keys", x5u="http://127.0.0.1:1/chain")
    with pytest.raises(InvalidDocument, match="key that is not known"):
        verified(compact(header, b"{}", stranger))
    with pytest.raises(InvalidDocument, match="signature"):
        verified(compact(header | {"kid": KEY.kid}, b"{}", stranger))


@pytest.mark.parametrize("kid", ["", "../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/key", "__class__", "\u0000"])
def test_a_key_id_is_a_dictionary_key_and_nothing_else(kid):
    """RFC 8725 §3.10."""
    with pytest.raises(InvalidDocument, match="not known"):
        verified(signed(kid=kid))


@pytest.mark.parametrize("index", [0, 1])
def test_a_changed_header_or_payload_has_a_wrong_signature(index):
    segments = GOOD.split(".")
    segments[index] = [b64(json.dumps(header_of(KEY, x=1)).encode()), b64(b"{ }")][index]
    with pytest.raises(InvalidDocument, match="signature"):
        verified(".".join(segments))


def test_a_text_may_be_as_large_as_its_bound_and_not_larger():
    assert verified(GOOD, max_bytes=len(GOOD)) == b"{}"
    with pytest.raises(InvalidDocument, match="larger"):
        verified(GOOD, max_bytes=len(GOOD) - 1)
    with pytest.raises(InvalidDocument, match="larger than 8192"):
        verified(signed(b"x" * 8192))


@given(st.text(URL_SAFE + ".= \n", max_size=80) | st.binary(max_size=80))
def test_any_text_is_read_or_refused_and_nothing_else(text):
    with pytest.raises(InvalidDocument):
        verified(text)
