"""Where the keys of an issuer come from, and what is not believed on the way (TRAPS 5 and 29)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import BrokerError, ConfigurationError
from broker.identity import FetchedKeys, JwksFile, jwks
from broker.outbound import MAX_BYTES, Outbound
from scopes.errors import ScopesError
from tests.broker.clocks import StillClock
from tests.broker.web import Answer, WebServer, trusting, web_authority, web_certificate
from tests.scopes.tokens import key_set, new_key

CA = web_authority()
KEY = new_key()
KEYS = json.dumps(key_set(KEY)).encode()


class Issuer:
    """An issuer that says where its keys are, and has them there."""

    def __init__(self) -> None:
        self.server = WebServer(web_certificate(CA, "localhost"))
        self.url = self.server.url(path="/realm")
        self.outbound = Outbound(allow_private_addresses=True, tls=trusting(CA))
        self.document: dict[str, Any] = {"issuer": self.url, "jwks_uri": self.server.url(path="/keys"), "other": [1]}
        self.keys = Answer(KEYS)
        self.asked = 0

    def fetch(self) -> Any:
        return jwks.discovered(self.url, _Both(self))()


class _Both(Outbound):
    """Asks the real server, which answers what belongs to the address that is asked."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(allow_private_addresses=True, tls=trusting(CA))
        self._issuer = issuer

    def get(self, url: str) -> bytes:
        is_document = url.endswith("/.well-known/openid-configuration")
        self._issuer.server.answer = Answer(json.dumps(self._issuer.document).encode()) if is_document else self._issuer.keys
        return super().get(url)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.close()


def check_refused(issuer: Issuer) -> str:
    with pytest.raises((BrokerError, ScopesError)) as error:
        issuer.fetch()
    return str(error.value)


def test_an_issuer_says_where_its_keys_are(issuer: Issuer) -> None:
    """OpenID Connect Discovery §4."""
    assert issuer.fetch().get(KEY.kid) is not None
    assert [head.split(b" ")[1] for head in issuer.server.requests] == [b"/realm/.well-known/openid-configuration", b"/keys"]


def test_a_slash_at_the_end_of_an_issuer_is_left_out_of_the_address_only(issuer: Issuer) -> None:
    issuer.url += "/"
    issuer.document["issuer"] = issuer.url
    assert issuer.fetch().get(KEY.kid) is not None
    assert b"/realm/.well-known/" in issuer.server.requests[0]


@pytest.mark.parametrize("name", ["{url}/", "{upper}", "https://other.test", "", 5, None])
def test_an_issuer_of_another_name_is_not_believed(issuer: Issuer, name: Any) -> None:
    """OpenID Connect Discovery §4.3: the names have to be identical."""
    issuer.document["issuer"] = name.format(url=issuer.url, upper=issuer.url.upper()) if isinstance(name, str) else name
    check_refused(issuer)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}/keys",
        "https://localhost/keys",
        "http://localhost:{port}/keys",
        "https://user@other.test:{port}/keys",
        "file:///etc/passwd",
        "//other.test/keys",
        "https://[",
        "",
    ],
)
def test_keys_on_another_host_are_not_fetched(issuer: Issuer, url: str) -> None:
    """TRAPS 5 and 29."""
    issuer.document["jwks_uri"] = url.format(port=issuer.server.port)
    check_refused(issuer)
    assert len(issuer.server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(b"", 302, (("Location", "https://other.test/keys"),)), id="a redirect (TRAPS 5)"),
        pytest.param(Answer(b"{}", 500), id="a failure"),
        pytest.param(Answer(b" " * (MAX_BYTES + 1)), id="an answer of any size (TRAPS 5)"),
        pytest.param(Answer(b"<html>"), id="a page"),
        pytest.param(Answer(b'{"keys":[]}'), id="no keys"),
        pytest.param(Answer(b'{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"x","alg":"HS256"}]}'), id="a secret (TRAPS 3)"),
        pytest.param(Answer(KEYS.replace(b'"sig"', b'"enc"')), id="a key for encryption (TRAPS 2)"),
        pytest.param(Answer(b'{"keys":[' + KEYS[9:-2] + b"," + KEYS[9:-2] + b"]}"), id="a key id twice"),
    ],
)
def test_keys_that_are_none_are_not_believed(issuer: Issuer, answer: Answer) -> None:
    issuer.keys = answer
    check_refused(issuer)


def test_an_issuer_in_a_private_network_is_asked_only_where_that_is_said(issuer: Issuer) -> None:
    """TRAPS 29."""
    with pytest.raises(BrokerError, match="private network"):
        jwks.discovered(issuer.url, Outbound(tls=trusting(CA)))()
    assert issuer.server.connections == 0


def test_an_issuer_with_a_certificate_that_nobody_trusts_is_not_asked(issuer: Issuer) -> None:
    with pytest.raises(BrokerError):
        jwks.discovered(issuer.url, Outbound(allow_private_addresses=True))()
    assert issuer.server.requests == []


def test_keys_can_be_fetched_from_an_address_that_is_configured(issuer: Issuer) -> None:
    issuer.server.answer = Answer(KEYS)
    assert jwks.at(issuer.server.url(path="/keys"), issuer.outbound)().get(KEY.kid) is not None


def test_a_failed_fetch_leaves_the_last_keys_until_they_are_too_old(issuer: Issuer) -> None:
    """TRAPS 5: a failed fetch that empties the cache causes an outage."""
    clock = StillClock()
    fetched = FetchedKeys("test", issuer.fetch, clock=clock)
    assert len(fetched.keys) == 0
    assert fetched.problem
    fetched.refresh()
    assert (len(fetched.keys), fetched.problem) == (1, "")
    issuer.keys = Answer(b"", 500)
    clock.advance(3_600_000)
    fetched.refresh()
    assert len(fetched.keys) == 1
    assert fetched.problem
    clock.advance(24 * 3_600_000)
    assert len(fetched.keys) == 0


def test_a_file_that_is_no_key_set_stops_the_start(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"{}", b'{"keys":[]}', b"\xff"]):
        (tmp_path / str(number)).write_bytes(content)
        with pytest.raises(ConfigurationError, match="not a usable JWKS"):
            JwksFile(tmp_path / str(number))
    with pytest.raises(ConfigurationError, match="not a usable JWKS"):
        JwksFile(tmp_path / "absent")


def test_a_file_has_nothing_to_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(KEYS)
    file = JwksFile(tmp_path / "keys")
    file.start()
    file.wake()
    file.close()
    assert len(file.keys) == 1
