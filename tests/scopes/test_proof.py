import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from scopes import proof
from scopes.errors import InvalidDocument
from scopes.keys import bare, thumbprint
from tests.scopes import vectors
from tests.scopes.proofs import HOSTILE, HOSTILE_WITH_A_TOKEN, Call, claims, header, with_header, with_jwk
from tests.scopes.proofs import proof as written
from tests.scopes.tokens import compact, new_key, private_jwk

VECTORS = vectors.read("rfc9449_dpop.json")
PUBLISHED = {case["name"]: case for case in VECTORS["proofs"]}
URL = "https://crm.example.com/tickets/4711"
NOW = 1_795_318_537
KEY = new_key()
TOKEN = "eyJ.token"
CALL = Call(KEY, "GET", URL, NOW, ath=proof.hash_of(TOKEN))


def checked(text: str, *, method: str = "GET", url: str = URL, now: int = NOW * 1000, token: str | None = TOKEN) -> proof.Proof:
    return proof.check(text, method=method, url=url, now=now, token_hash=proof.hash_of(token) if token is not None else None)


def is_accepted(text: str, **request: object) -> bool:
    try:
        checked(text, **request)
    except InvalidDocument:
        return False
    return True


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_proofs_hold_at_their_moment(name):
    """The examples of RFC 9449: figures 2, 7 and 13."""
    case = PUBLISHED[name]
    said = case["claims"]
    token_hash = VECTORS["ath"] if "ath" in said else None
    found = proof.check(case["proof"], method=said["htm"], url=said["htu"], now=said["iat"] * 1000, token_hash=token_hash)
    assert (found.thumbprint, found.id, found.nonce) == (case["jkt"], said["jti"], None)
    assert thumbprint(case["header"]["jwk"]) == case["jkt"]


def test_the_published_hash_of_an_access_token_is_ours():
    """RFC 9449 §7.1, figure 12."""
    assert proof.hash_of(VECTORS["access_token"]) == VECTORS["ath"]


def test_the_published_proof_is_late_a_minute_after_it_was_made():
    case = PUBLISHED["fig2_token_request"]
    said = case["claims"]
    with pytest.raises(InvalidDocument, match="too long ago"):
        proof.check(case["proof"], method=said["htm"], url=said["htu"], now=said["iat"] * 1000 + 60_001)


@pytest.mark.parametrize("hostile", [*HOSTILE, *HOSTILE_WITH_A_TOKEN], ids=lambda hostile: hostile.name)
def test_a_hostile_proof_is_refused(hostile):
    """Each names the rule it breaks; the same proof unbroken is accepted."""
    assert is_accepted(written(CALL))
    assert not is_accepted(hostile.write(CALL))


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_what_is_made_is_accepted(alg):
    key = new_key(alg)
    made = proof.make(key, method="GET", url=f"{URL}?page=2#top", now=NOW * 1000, token=TOKEN, nonce="n-1")
    found = checked(made, url=f"{URL}?page=3")
    assert (found.thumbprint, found.nonce, found.until) == (key.kid, "n-1", (NOW + 60) * 1000)


def test_what_is_made_names_its_key_and_nothing_private():
    made = proof.make(KEY, method="POST", url=URL, now=NOW * 1000)
    head, body = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in made.split(".")[:2])
    assert head == {"typ": "dpop+jwt", "alg": "ES256", "jwk": dict(bare(KEY.public_jwk))}
    assert set(body) == {"jti", "htm", "htu", "iat"}


def test_no_two_proofs_have_the_same_id():
    made = [proof.make(KEY, method="GET", url=URL, now=NOW * 1000, token=TOKEN) for _ in range(50)]
    assert len({checked(each).id for each in made}) == 50


def test_a_key_may_say_what_it_is_for_where_that_is_so():
    assert is_accepted(with_jwk(CALL, use="sig", alg="ES256", key_ops=["verify"], kid="mine"))


def test_the_thumbprint_is_the_keys_own_whatever_it_calls_itself():
    assert checked(with_jwk(CALL, kid="another")).thumbprint == KEY.kid


def test_headers_that_point_elsewhere_are_not_followed():
    assert is_accepted(with_header(CALL, jku="https://evil.example/keys", kid="another"))


def test_a_key_of_another_curve_proves_with_its_own_algorithm():
    signer = _Es384()
    assert is_accepted(compact(header(signer), claims(CALL), signer))


@pytest.mark.parametrize(
    ("made_for", "asked"),
    [
        pytest.param("https://CRM.Example.com/a", "https://crm.example.com/a", id="case of the host (RFC 3986 §6.2.2.1)"),
        pytest.param("HTTPS://crm.example.com/a", "https://crm.example.com/a", id="case of the scheme"),
        pytest.param("https://crm.example.com:443/a", "https://crm.example.com/a", id="default port (RFC 3986 §6.2.3)"),
        pytest.param("https://crm.example.com:/a", "https://crm.example.com/a", id="no port behind the colon"),
        pytest.param("http://crm.example.com:80/a", "http://crm.example.com/a", id="default port of plain http"),
        pytest.param("https://crm.example.com", "https://crm.example.com/", id="no path"),
        pytest.param("https://crm.example.com/%7ejane", "https://crm.example.com/~jane", id="needless escape (§6.2.2.2)"),
        pytest.param("https://crm.example.com/%c3%a9", "https://crm.example.com/%C3%A9", id="case of an escape"),
        pytest.param("https://crm.example.com/x/../a/./b", "https://crm.example.com/a/b", id="dot segments (§6.2.2.3)"),
        pytest.param("https://crm.example.com/a/b/..", "https://crm.example.com/a/", id="dots at the end"),
        pytest.param("https://crm.example.com/%2e%2e/a", "https://crm.example.com/a", id="escaped dots"),
        pytest.param("https://crm.example.com/..", "https://crm.example.com/", id="above the root"),
        pytest.param("https://[2001:DB8::1]/a", "https://[2001:db8::1]/a", id="an address"),
        pytest.param(
            "https://crm.example.com/a", "https://crm.example.com/a?page=2", id="query of the request (RFC 9449 §4.3)"
        ),
        pytest.param("https://crm.example.com/a", "https://crm.example.com/a#top", id="fragment of the request"),
        pytest.param("https://crm.example.com", "https://crm.example.com?page=2", id="query without a path"),
    ],
)
def test_two_spellings_of_one_url_are_one(made_for, asked):
    """RFC 9449 §4.3 (9), by RFC 3986 §6.2.2 and §6.2.3."""
    assert is_accepted(written(CALL, htu=made_for), url=asked)


@pytest.mark.parametrize(
    ("made_for", "asked"),
    [
        pytest.param("http://crm.example.com/a", "https://crm.example.com/a", id="another scheme"),
        pytest.param("https://crm.example.com:8443/a", "https://crm.example.com/a", id="another port"),
        pytest.param("https://crm.example.com:80/a", "https://crm.example.com/a", id="the default port of another scheme"),
        pytest.param("https://crm.example.com/A", "https://crm.example.com/a", id="another case of the path"),
        pytest.param("https://crm.example.com/a/", "https://crm.example.com/a", id="a slash at the end"),
        pytest.param("https://crm.example.com//a", "https://crm.example.com/a", id="an empty segment"),
        pytest.param("https://crm.example.com/a%2Fb", "https://crm.example.com/a/b", id="an escaped slash"),
        pytest.param("https://crm.example.com/%252e%252e/a", "https://crm.example.com/a", id="dots escaped twice"),
        pytest.param("https://crm.example.com./a", "https://crm.example.com/a", id="a dot behind the host"),
        pytest.param("https://jane@crm.example.com/a", "https://crm.example.com/a", id="a user name"),
        pytest.param("https://crm.example.com\\a", "https://crm.example.com/a", id="a backslash"),
        pytest.param("https://crm.example.com/a b", "https://crm.example.com/a%20b", id="a space"),
        pytest.param("https://crm.example.com/é", "https://crm.example.com/%C3%A9", id="a letter that is not ASCII"),
        pytest.param("https://crm.example.com/a\n", "https://crm.example.com/a", id="a line end"),
        pytest.param("https://crm.example.com/%zz", "https://crm.example.com/%zz", id="an escape that is none"),
        pytest.param("", "", id="nothing at all"),
    ],
)
def test_what_is_another_url_or_none_is_refused(made_for, asked):
    """RFC 9449 §4.3 (9), trap 17."""
    assert not is_accepted(written(CALL, htu=made_for), url=asked)


@pytest.mark.parametrize(
    ("seconds", "accepted"), [(-60, True), (-60.001, False), (5, True), (5.001, False), (0, True)], ids=str
)
def test_both_clocks_may_be_wrong_by_a_little(seconds, accepted):
    """A proof lives a minute behind its server's clock, and may be five seconds ahead of it (RFC 9449 §11.1)."""
    assert is_accepted(written(CALL), now=int((NOW - seconds) * 1000)) is accepted


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "get", "GET ", ""]),
    url=st.sampled_from(
        [URL, URL + "/", URL.upper(), URL.replace("https", "http"), "https://crm.example.com/", "", URL + "?q"]
    ),
    token=st.sampled_from([TOKEN, TOKEN + "x", "", "eyJ.Token"]),
    seconds=st.integers(-200, 200),
)
def test_a_proof_holds_for_its_own_request_and_no_other(method, url, token, seconds):
    """Any change of method, URL, token or time outside the window is refused."""
    own = (method, token) == ("GET", TOKEN) and url in (URL, URL + "?q") and -5 <= seconds <= 60
    assert is_accepted(written(CALL), method=method, url=url, token=token, now=(NOW + seconds) * 1000) is own


@given(st.data())
def test_a_proof_with_any_letter_changed_is_refused(data):
    text = written(CALL)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(
        st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.").filter(
            lambda one: one != text[place]
        )
    )
    assert not is_accepted(text[:place] + letter + text[place + 1 :])


class _Es384:
    """Signs as a client may whose algorithm our own keys do not have."""

    alg = "ES384"

    def __init__(self) -> None:
        jwk = private_jwk("ES384")
        self.public_jwk = bare(jwk)
        self._algorithm = ECAlgorithm(ECAlgorithm.SHA384)
        self._key = self._algorithm.from_jwk(jwk)

    def sign(self, data: bytes) -> bytes:
        return self._algorithm.sign(data, self._key)
