"""Bundles from endpoints over real TLS: proven by the web, or by an X.509-SVID (SPIFFE Federation §5.2)."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError, InvalidClient, Unavailable
from broker.identity import BundleFile, JwtSvids, TrustDomain
from broker.identity.bundle import MAX_BUNDLE_BYTES, UNKNOWN
from broker.identity.bundle_endpoint import BundleEndpoint, EndpointIdentity
from broker.identity.refreshed import HARD_AGE, MIN_INTERVAL
from tests.broker.identity.domains import BOT, ISSUER, PROD, PROD_NEXT, STRANGER, bundle
from tests.broker.identity.test_bundle import x509_jwk
from tests.broker.web import Answer, WebServer, since, trusting, web_authority, web_certificate
from tests.scopes.certificates import CERTIFICATE_SIGNING, URI, Made, authority, leaf
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.tokens import compact

WEB = web_authority()
SERVER_ID = "spiffe://prod/spire/server"
ROOT, NEXT_ROOT, STRANGE_ROOT = (authority("prod", start=since()) for _ in range(3))
MIDDLE = authority("middle", ROOT, start=since())


def document(*keys: Any, sequence: int = 1, roots: tuple[Made, ...] = (ROOT,), **members: Any) -> bytes:
    """Write a bundle with JWT authorities and X.509 ones."""
    jwks = [*bundle(*keys or (PROD,))["keys"], *(x509_jwk(root) for root in roots)]
    return json.dumps({"keys": jwks, "spiffe_sequence": sequence, **members}).encode()


def server_svid(issuer: Made = ROOT, id: str = SERVER_ID, **changes: Any) -> Made:
    return leaf(issuer, id, **{"start": since(), **changes})


class Federation:
    """A trust domain whose bundle an endpoint serves, and who authenticates its workloads."""

    def __init__(self, server: WebServer, **how: Any) -> None:
        self.server = server
        self.clock = MovableClock()
        self.source = BundleEndpoint("prod", server.url(), clock=self.clock, allow_private_addresses=True, **how)
        self.identity = JwtSvids([TrustDomain("prod", self.source)], audience=ISSUER, clock=self.clock)

    def fetch(self, answer: bytes | Answer) -> str:
        """Have the endpoint answer, fetch, and return what is wrong."""
        self.server.answer = answer if isinstance(answer, Answer) else Answer(answer)
        self.clock.advance(300_000)
        self.source.refresh()
        return self.source.state.problem

    def knows(self, key: Any) -> bool:
        now = self.clock.seconds
        claims = {"sub": BOT, "aud": [ISSUER], "iat": now, "exp": now + 300}
        try:
            self.identity.authenticate(compact({"alg": key.alg, "typ": "JWT", "kid": key.kid}, claims, key))
        except InvalidClient:
            return False
        return True


@pytest.fixture
def web() -> Iterator[Federation]:
    """An endpoint that proves itself by the authorities of the web."""
    server = WebServer(web_certificate(WEB))
    federation = Federation(server, tls=trusting(WEB))
    yield federation
    federation.source.close()
    server.close()


class Bootstrap:
    """The file by which an endpoint is believed the first time."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bootstrap.json"
        self._writes = 0
        self.write(document())

    def write(self, content: bytes) -> None:
        self.path.write_bytes(content)
        self._writes += 1
        os.utime(self.path, (self._writes, self._writes))


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    return Bootstrap(tmp_path)


@pytest.fixture
def spiffe(bootstrap: Bootstrap) -> Iterator[Federation]:
    """An endpoint that proves itself by its SPIFFE id."""
    server = WebServer(server_svid())
    federation = Federation(server, identity=EndpointIdentity(SERVER_ID, BundleFile(bootstrap.path)))
    yield federation
    federation.source.close()
    server.close()


# What is fetched


def test_before_the_first_fetch_nobody_of_the_domain_can_be_known(web: Federation, spiffe: Federation) -> None:
    """Also where a file proves the endpoint: what it says of workloads may be long over. 503, for it may pass."""
    for federation in (web, spiffe):
        assert federation.source.bundle is UNKNOWN
        assert federation.source.state.problem == "not fetched yet"
        with pytest.raises(Unavailable, match="prod") as error:
            federation.knows(PROD)
        assert error.value.retry_after > 0


def test_a_bundle_is_fetched_and_its_workloads_are_known(web: Federation, spiffe: Federation) -> None:
    for federation in (web, spiffe):
        assert federation.fetch(document()) == ""
        assert federation.knows(PROD)
        assert not federation.knows(STRANGER)
        assert federation.source.bundle.x509_authorities == (ROOT.certificate,)
        assert federation.source.state == (federation.server.url(), 0, "")


def test_the_same_document_is_the_same_bundle(web: Federation) -> None:
    """What was verified with it stays remembered."""
    web.fetch(document())
    before = web.source.bundle
    web.fetch(document())
    assert web.source.bundle is before
    web.fetch(document(sequence=2))
    assert web.source.bundle is not before


def test_a_new_bundle_brings_new_keys_in_and_takes_old_ones_out(web: Federation) -> None:
    web.fetch(document(PROD))
    assert web.knows(PROD)
    web.fetch(document(PROD_NEXT, sequence=2))
    assert web.knows(PROD_NEXT)
    assert not web.knows(PROD)


def test_a_bundle_without_keys_is_the_domains_word_that_nobody_is_trusted(web: Federation) -> None:
    web.fetch(document())
    assert web.fetch(b'{"keys":[],"spiffe_sequence":2}') == ""
    assert not web.knows(PROD)
    assert TrustDomain("prod", web.source).state.problem == "it has no authorities"


REFUSED = [
    pytest.param(document(PROD_NEXT, sequence=4), "went back from 5 to 4", id="an earlier sequence"),
    pytest.param(json.dumps(bundle(PROD_NEXT) | {"spiffe_sequence": None}).encode(), "went back", id="no sequence any more"),
    pytest.param(b"", "JSON", id="nothing"),
    pytest.param(b"<html>", "JSON", id="a page"),
    pytest.param(document(PROD_NEXT)[:-9], "JSON", id="half a bundle"),
    pytest.param(json.dumps(bundle(PROD_NEXT, d="AA")).encode(), "private", id="a private key"),
    pytest.param(b" " * (MAX_BUNDLE_BYTES + 1), "larger", id="too large (TRAPS 5)"),
    pytest.param(Answer(document(PROD_NEXT), 500), "answered 500", id="an error"),
    pytest.param(Answer(b"", 302, (("Location", "/other"),)), "answered 302", id="a redirect (TRAPS 5, 29)"),
    pytest.param(Answer(document(PROD_NEXT), headers=(("Content-Length", "9999999"),)), "Protocol", id="cut off"),
]


@pytest.mark.parametrize(("answer", "problem"), REFUSED)
def test_a_bad_answer_leaves_the_bundle_that_is_known_and_is_told(web: Federation, answer: Any, problem: str) -> None:
    """TRAPS 5: a failed fetch must not empty the keys."""
    web.fetch(document(sequence=5))
    assert problem in web.fetch(answer)
    assert web.knows(PROD)
    assert not web.knows(PROD_NEXT)
    assert web.fetch(document(PROD_NEXT, sequence=6)) == ""
    assert web.knows(PROD_NEXT)


def test_a_bundle_that_could_not_be_fetched_for_a_day_is_believed_no_longer(web: Federation) -> None:
    web.fetch(document())
    assert web.knows(PROD)
    web.clock.advance(int(HARD_AGE * 1000))
    web.fetch(Answer(status=500))
    with pytest.raises(Unavailable):
        web.knows(PROD)
    web.fetch(document())
    assert web.knows(PROD)


def test_the_refresh_hint_says_when_it_is_fetched_again(web: Federation) -> None:
    web.server.answer = Answer(document(spiffe_refresh_hint=60))
    assert 54 <= web.source._held.refresh() <= 60


def test_an_unknown_key_asks_for_a_fetch_that_comes_in_the_background(web: Federation) -> None:
    web.server.answer = Answer(document())
    web.source.start()
    eventually(lambda: web.source.bundle is not UNKNOWN)
    web.server.answer = Answer(document(PROD, PROD_NEXT, sequence=2))
    web.clock.advance(int(MIN_INTERVAL * 1000))
    web.knows(PROD_NEXT)
    eventually(lambda: web.knows(PROD_NEXT))


def test_unknown_keys_cause_no_flood_of_fetches(web: Federation) -> None:
    """TRAPS 5."""
    web.server.answer = Answer(document())
    web.source.start()
    eventually(lambda: web.source.bundle is not UNKNOWN)
    for _ in range(1000):
        assert not web.knows(STRANGER)
    assert web.server.connections == 1


# Who the endpoint is


def test_a_web_endpoint_with_the_certificate_of_another_host_is_refused(web: Federation) -> None:
    web.server.show(web_certificate(WEB, "other.test"))
    assert "CERTIFICATE_VERIFY_FAILED" in web.fetch(document())
    assert web.source.bundle is UNKNOWN
    assert web.server.requests == []


def test_an_endpoint_with_a_spiffe_id_needs_no_name_of_a_host(spiffe: Federation) -> None:
    spiffe.server.show(server_svid(MIDDLE), MIDDLE)
    assert spiffe.fetch(document()) == ""


IMPOSTORS = [
    pytest.param([server_svid(id="spiffe://prod/other")], "is not spiffe://prod/spire/server", id="another id of the domain"),
    pytest.param([server_svid(id=f"{SERVER_ID}/x")], "is not", id="a longer id"),
    pytest.param([server_svid(id="spiffe://other/spire/server")], "is not", id="the same path of another domain"),
    pytest.param([server_svid(names=[URI(SERVER_ID), URI(BOT)])], "exactly one URI", id="two URIs (TRAPS 9)"),
    pytest.param([server_svid(names=())], "no URI", id="no URI"),
    pytest.param([server_svid(names=[URI(SERVER_ID)], ca=True, usages=CERTIFICATE_SIGNING)], "", id="a CA as leaf (TRAPS 9)"),
    pytest.param([server_svid(ca=True)], "authority's", id="a CA that may sign messages too"),
    pytest.param([server_svid(usages=None)], "key usage", id="without a key usage"),
    pytest.param([server_svid(STRANGE_ROOT)], "CERTIFICATE_VERIFY_FAILED", id="an authority of the same name"),
    pytest.param([server_svid(STRANGE_ROOT), STRANGE_ROOT], "CERTIFICATE_VERIFY_FAILED", id="with its own authority along"),
    pytest.param([server_svid(None)], "CERTIFICATE_VERIFY_FAILED", id="self-signed"),
    pytest.param([server_svid(MIDDLE)], "CERTIFICATE_VERIFY_FAILED", id="without its intermediate"),
    pytest.param([server_svid(start=since().replace(year=2020))], "CERTIFICATE_VERIFY_FAILED", id="expired"),
]


@pytest.mark.parametrize(("chain", "problem"), IMPOSTORS)
def test_an_endpoint_that_is_not_who_it_has_to_be_is_not_even_asked(
    spiffe: Federation, chain: list[Made], problem: str
) -> None:
    spiffe.server.show(*chain)
    assert problem in spiffe.fetch(document(PROD_NEXT))
    assert spiffe.source.state.problem != ""
    assert spiffe.source.bundle is UNKNOWN
    assert spiffe.server.requests == []


def test_the_trust_store_of_the_system_proves_no_spiffe_id(
    spiffe: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 9: an authority of the web that signed this very id."""
    (tmp_path / "web.pem").write_bytes(WEB.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "web.pem"))
    spiffe.server.show(server_svid(WEB))
    assert "CERTIFICATE_VERIFY_FAILED" in spiffe.fetch(document(PROD_NEXT))


def test_each_bundle_proves_who_answers_next(spiffe: Federation) -> None:
    """Federation §5.2.2.4: so the domain's authorities can rotate away from those in the file."""
    assert spiffe.fetch(document(sequence=1, roots=(ROOT, NEXT_ROOT))) == ""
    spiffe.server.show(server_svid(NEXT_ROOT))
    assert spiffe.fetch(document(sequence=2, roots=(NEXT_ROOT,))) == ""
    spiffe.server.show(server_svid(ROOT))
    assert "CERTIFICATE_VERIFY_FAILED" in spiffe.fetch(document(PROD_NEXT, sequence=3))
    assert spiffe.knows(PROD)


def test_a_newer_file_proves_who_answers_where_the_chain_was_lost(spiffe: Federation, bootstrap: Bootstrap) -> None:
    spiffe.fetch(document(sequence=1))
    spiffe.server.show(server_svid(NEXT_ROOT))
    assert spiffe.fetch(document(sequence=2, roots=(NEXT_ROOT,))) != ""
    bootstrap.write(document(sequence=2, roots=(NEXT_ROOT,)))
    assert spiffe.fetch(document(sequence=2, roots=(NEXT_ROOT,))) == ""


def test_a_bundle_older_than_the_file_is_not_believed(spiffe: Federation, bootstrap: Bootstrap) -> None:
    bootstrap.write(document(sequence=9))
    assert "went back from 9 to 8" in spiffe.fetch(document(sequence=8))


def test_without_an_authority_no_endpoint_can_prove_its_id(spiffe: Federation, bootstrap: Bootstrap) -> None:
    bootstrap.write(document(roots=()))
    assert "no X.509 authority" in spiffe.fetch(document())
    assert spiffe.server.connections == 0


def test_a_slow_endpoint_is_given_up(web: Federation) -> None:
    def drip(stopping: threading.Event) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        while not stopping.wait(0.02):
            yield b"x"

    web.source._outbound.keywords["timeout"] = 0.2
    assert "no whole answer" in web.fetch(Answer(pieces=drip))


# What is configured


@pytest.mark.parametrize(
    "url", ["http://bundles.example.com/", "https://127.0.0.1/", "https://10.0.0.1/", "ftp://x/", "https://u:p@example.com/"]
)
def test_an_address_that_would_never_be_asked_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigurationError, match="bundle_endpoint of prod") as error:
        BundleEndpoint("prod", url, clock=MovableClock())
    assert "u:p" not in str(error.value)


def test_an_endpoint_in_a_private_network_is_asked_only_where_that_is_said(web: Federation) -> None:
    """TRAPS 29: its name is public, its address is not."""
    source = BundleEndpoint("prod", web.server.url(), clock=web.clock, tls=trusting(WEB))
    source.refresh()
    assert "private network" in source.state.problem
    assert web.server.connections == 0
