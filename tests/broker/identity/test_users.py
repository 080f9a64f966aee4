"""People by the tokens of their identity provider: whose are read, and everything that is none (TRAPS 12, 13)."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from broker.errors import InvalidRequest
from broker.identity import JwksFile, TrustedUsers, User, Users
from tests.broker.clocks import StillClock
from tests.broker.identity.hostile_claims import HOSTILE_TO_ALL, moments
from tests.broker.identity.platform_tokens import (
    GITHUB_CLAIMS,
    GITLAB_CLAIMS,
    KUBERNETES_CLAIMS,
    Platforms,
    jwks_file,
)
from tests.broker.identity.user_tokens import AUDIENCE, IDP, KEY, PORTAL, People, user_claims, user_token
from tests.scopes.tokens import b64, compact, new_key


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path)


def check_refused(people: People, token: str) -> str:
    with pytest.raises(InvalidRequest) as error:
        people.users.authenticate(token)
    assert not any(part in str(error.value) for part in token.split(".") if part)
    return str(error.value)


def test_a_users_token_says_who_they_are_and_to_whom_it_was_issued(people: People) -> None:
    user = people.users.authenticate(people.token())
    assert user == User("corp:jane", ("berlin", "support"), people.clock.seconds + 600, PORTAL, None)
    assert user.trust == "corp"


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE]])
def test_the_audience_is_a_text_or_alone_in_a_list(people: People, audience: object) -> None:
    assert people.users.authenticate(people.token(aud=audience)).id == "corp:jane"


@pytest.mark.parametrize("type", ["JWT", "at+jwt", None])
def test_id_tokens_and_access_tokens_of_rfc_9068_are_read(people: People, type: str | None) -> None:
    token = people.token(header={"typ": type}, azp=None, client_id=PORTAL)
    assert people.users.authenticate(token).authorized_party == PORTAL


def test_both_names_of_the_client_may_stand_there_if_they_agree(people: People) -> None:
    assert people.users.authenticate(people.token(client_id=PORTAL)).authorized_party == PORTAL


def test_who_may_act_is_read_where_the_token_says_it(people: People) -> None:
    """RFC 8693 §4.4."""
    user = people.users.authenticate(people.token(azp=None, may_act={"sub": "support-bot"}))
    assert (user.authorized_party, user.may_act) == (None, "support-bot")


HOSTILE: dict[str, dict[str, Any]] = {
    **HOSTILE_TO_ALL,
    "for the client alone, as an id token is (TRAPS 13)": {"aud": PORTAL},
    "for us and the client (TRAPS 13)": {"aud": [AUDIENCE, PORTAL]},
    "for us twice": {"aud": [AUDIENCE, AUDIENCE]},
    "for our token endpoint (TRAPS 8)": {"aud": f"{AUDIENCE}/oauth/token"},
    "for us with a slash": {"aud": f"{AUDIENCE}/"},
    "of an issuer with a slash": {"iss": f"{IDP}/"},
    "of an issuer in capitals": {"iss": IDP.upper()},
    "with a number as its subject (TRAPS 14)": {"sub": 5},
    "with a newline in its subject (TRAPS 26)": {"sub": "jane\nadmin"},
    "with a subject in other letters (TRAPS 16)": {"sub": "jаne"},
    "with a subject without end": {"sub": "j" * 256},
    "issued to two clients (TRAPS 13)": {"client_id": "other-portal"},
    "issued to a client without a name": {"azp": ""},
    "issued to a list of clients": {"azp": None, "client_id": [PORTAL]},
    "with a text as who may act (RFC 8693 §4.4)": {"may_act": "support-bot"},
    "with nobody as who may act (RFC 8693 §4.4)": {"may_act": {}},
    "with somebody of another issuer as who may act (TRAPS 13)": {
        "may_act": {"sub": "support-bot", "iss": "https://evil.test"}
    },
    "with which somebody acts already (TRAPS 13)": {"act": {"sub": "spiffe://evil.test/bot"}},
    "bound to a key of the client's (TRAPS 17)": {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    "that says the user signed out": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    "of an application that acts for itself (RFC 9068 §2.2)": {"sub": PORTAL},
    "of an application, as Entra ID says it (TRAPS 12)": {"idtyp": "app"},
    "of an application, as Auth0 says it (TRAPS 12)": {"gty": "client-credentials"},
    "of a job (TRAPS 12)": {**GITLAB_CLAIMS, "iss": IDP, "aud": AUDIENCE},
    "of a workflow (TRAPS 12)": {**GITHUB_CLAIMS, "iss": IDP, "aud": AUDIENCE},
    "of a pod (TRAPS 12)": {**KUBERNETES_CLAIMS, "iss": IDP, "aud": AUDIENCE},
    "with a text as the groups": {"groups": "admins"},
    "with groups as an object": {"groups": {"admins": True}},
    "with numbers as groups (TRAPS 14)": {"groups": [1, 2]},
    "with a boolean as a group (TRAPS 4)": {"groups": ["support", True]},
    "with a group without a name": {"groups": [""]},
    "with a newline in a group (TRAPS 26)": {"groups": ["support\nadmins"]},
    "with a group without end": {"groups": ["g" * 256]},
    "with groups without end": {"groups": [f"{number}" for number in range(201)]},
    "with groups that stand elsewhere": {"groups": None, "_claim_names": {"groups": "src1"}},
    "with claims elsewhere that are no names": {"_claim_names": 5},
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_token_with_other_claims_is_refused(people: People, hostile: str) -> None:
    check_refused(people, people.token(**moments(people.clock.seconds, HOSTILE[hostile])))


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"alg": "none"}, id="alg none (TRAPS 3)"),
        pytest.param({"alg": "HS256"}, id="alg HS256 (TRAPS 3)"),
        pytest.param({"alg": "ES384"}, id="alg of another curve (TRAPS 3)"),
        pytest.param({"alg": "RS256"}, id="alg of another kind (TRAPS 3)"),
        pytest.param({"kid": None}, id="no kid"),
        pytest.param({"kid": "x"}, id="kid of nobody"),
        pytest.param({"typ": "dpop+jwt"}, id="typ of a proof (TRAPS 1)"),
        pytest.param({"typ": "logout+jwt"}, id="typ of a logout token (TRAPS 1)"),
        pytest.param({"typ": "secevent+jwt"}, id="typ of a message about the user (TRAPS 1)"),
        pytest.param({"typ": "revocations+jwt"}, id="typ of a feed message (TRAPS 1)"),
        pytest.param({"typ": "client-authentication+jwt"}, id="typ of an assertion (TRAPS 1)"),
        pytest.param({"crit": ["exp"]}, id="crit (TRAPS 2)"),
    ],
)
def test_a_token_with_another_header_is_refused(people: People, header: dict[str, Any]) -> None:
    check_refused(people, people.token(header=header))


@pytest.mark.parametrize("carrier", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_header_brings_along_is_never_looked_at(people: People, carrier: str) -> None:
    """TRAPS 2."""
    key = new_key()
    brought: dict[str, Any] = {"jwk": dict(key.public_jwk), "jku": "http://127.0.0.1:1/", "x5u": "file:///x", "x5c": ["AA"]}
    check_refused(people, people.token(key=key, header={"kid": KEY.kid, carrier: brought[carrier]}))


def test_a_public_key_is_no_secret_to_sign_with(people: People) -> None:
    """TRAPS 3."""
    claims = user_claims(people.clock.seconds)
    parts = [b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT", "kid": KEY.kid}, claims)]
    signature = hmac.new(json.dumps(dict(KEY.public_jwk)).encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    check_refused(people, ".".join([*parts, b64(signature)]))


@pytest.mark.parametrize("twice", ["iss", "sub", "aud", "azp", "groups"])
def test_a_claim_twice_is_refused(people: People, twice: str) -> None:
    """TRAPS 2: which of them counts depends on the parser (RFC 8725 §2.4)."""
    claims = user_claims(people.clock.seconds)
    payload = f'{{"{twice}":{json.dumps(claims[twice])},{json.dumps(claims)[1:]}'.encode()
    check_refused(people, compact({"alg": "ES256", "typ": "JWT", "kid": KEY.kid}, payload, KEY))


@pytest.mark.parametrize("text", ["", ".", "a.b.c", "x" * 9000, '{"payload":"","signatures":[]}'])
def test_what_is_no_token_is_refused(people: People, text: str) -> None:
    with pytest.raises(InvalidRequest):
        people.users.authenticate(text)


def test_without_a_trust_nobody_is_a_user(people: People) -> None:
    """Empty means no."""
    with pytest.raises(InvalidRequest):
        Users([], clock=people.clock).authenticate(people.token())


def test_what_a_platform_writes_for_a_workload_is_no_users_token(tmp_path: Path, people: People) -> None:
    """TRAPS 12: for our audience, so that nothing but its issuer is wrong."""
    platforms = Platforms(tmp_path)
    for name in ("kubernetes", "github", "gitlab", "generic"):
        check_refused(people, platforms.token(name, aud=AUDIENCE))


def test_providers_are_told_apart_by_issuer_and_audience(tmp_path: Path) -> None:
    clock = StillClock()
    keys = JwksFile(jwks_file(tmp_path, "corp", KEY))
    trusts = [TrustedUsers("corp", IDP, AUDIENCE, keys, "groups"), TrustedUsers("partners", IDP, PORTAL, keys, "roles")]
    users = Users(trusts, clock=clock)
    partner = user_token(clock.seconds, aud=PORTAL, azp="partner-portal", roles=["guest"])
    assert users.authenticate(user_token(clock.seconds)).id == "corp:jane"
    assert users.authenticate(partner)[:2] == ("partners:jane", ("guest",))


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access/roles", {"realm_access": {"roles": ["b", "a", "b"]}}),
        ("https://corp.test/groups", {"https://corp.test/groups": ["a", "b"]}),
        ("wids", {"wids": ["b", "a"], "_claim_names": {"groups": "src1"}}),
    ],
)
def test_groups_are_found_by_path(tmp_path: Path, path: str, claims: dict[str, Any]) -> None:
    people = People(tmp_path, groups=path)
    assert people.users.authenticate(people.token(groups=None, **claims)).groups == ("a", "b")


def test_two_claims_of_the_path_are_refused(tmp_path: Path) -> None:
    people = People(tmp_path, groups="realm/roles")
    check_refused(people, people.token(**{"realm": {"roles": ["a"]}, "realm/roles": ["b"]}))


def test_who_is_in_no_groups_has_none(people: People) -> None:
    assert people.users.authenticate(people.token(groups=None)).groups == ()
    assert people.users.authenticate(people.token(groups=[])).groups == ()


def test_a_key_that_is_not_known_has_the_keys_looked_at_again(tmp_path: Path) -> None:
    class Waking(JwksFile):
        woken = 0

        def wake(self) -> None:
            self.woken += 1

    keys = Waking(jwks_file(tmp_path, "corp", KEY))
    people = People(tmp_path, keys=keys)
    assert people.users.authenticate(people.token())
    assert keys.woken == 0
    check_refused(people, people.token(key=new_key()))
    assert keys.woken == 1


def test_a_file_that_breaks_leaves_the_last_good_keys_and_says_so(people: People) -> None:
    people.file.write_text("{")
    assert people.users.authenticate(people.token())
    assert people.users.notice.startswith("keys of corp: ")
