"""The one way out: what the broker fetches, from where, and what it refuses to believe or even to ask (TRAPS 29)."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from broker import outbound
from broker.errors import FetchFailed
from broker.outbound import MAX_BYTES, Outbound
from scopes.errors import InvalidDocument
from tests.broker.web import Answer, WebServer, trusting, web_authority, web_certificate

CA = web_authority()
TRUSTING = trusting(CA)


@pytest.fixture
def server() -> Iterator[WebServer]:
    server = WebServer(web_certificate(CA, "localhost"), answer=Answer(b'{"a":1}'))
    yield server
    server.close()


@pytest.fixture
def plain() -> Iterator[WebServer]:
    server = WebServer(answer=Answer(b"plain"))
    yield server
    server.close()


def inside(**changes: Any) -> Outbound:
    """Return one that may ask this machine."""
    return Outbound(**{"allow_private_addresses": True, "tls": TRUSTING, **changes})


def check_refused(fetch: Outbound, url: str) -> str:
    with pytest.raises(FetchFailed) as error:
        fetch.get(url)
    assert error.value.__cause__ is None
    return str(error.value)


def resolved(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have names stand for these addresses: each asking gets the next answer, the last one for ever. Return who was asked."""
    asked: list[str] = []
    ask: Any = socket.getaddrinfo

    def answer(host: str, port: int, *rest: Any, **named: Any) -> list[Any]:
        if not any(letter.isalpha() for letter in host):
            return ask(host, port, *rest, **named)
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_what_is_there_is_fetched_over_tls(server: WebServer) -> None:
    assert inside().get(server.url(path="/bundle?x=1")) == b'{"a":1}'
    (request,) = server.requests
    assert request.startswith(b"GET /bundle?x=1 HTTP/1.1\r\n")
    assert f"Host: localhost:{server.port}\r\n".encode() in request


def test_plain_http_is_for_this_machine(plain: WebServer) -> None:
    assert inside().get(plain.url()) == b"plain"
    assert inside().get(plain.url("127.0.0.1")) == b"plain"
    assert "https" in check_refused(inside(), "http://bundles.example.com/")


def test_plain_http_to_a_name_that_only_claims_to_be_this_machine_is_refused(
    plain: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, ["93.184.216.34"])
    check_refused(inside(), plain.url())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(b"x" * (MAX_BYTES + 1)), id="too large (TRAPS 5)"),
        pytest.param(Answer(b"{}", headers=(("Content-Length", "99"),)), id="cut off"),
        pytest.param(Answer(b"{}", 404), id="not found"),
        pytest.param(Answer(b"{}", 500), id="an error"),
        pytest.param(Answer(b"{}", 201), id="not quite the right status"),
        pytest.param(Answer(b"{}", headers=(("Content-Encoding", "gzip"),)), id="compressed"),
        pytest.param(Answer(b"", 302, (("Location", "/elsewhere"),)), id="a redirect (TRAPS 5)"),
        pytest.param(Answer(b"{}", 307, (("Location", "http://169.254.169.254/"),)), id="a redirect inside (TRAPS 5)"),
        pytest.param(Answer(pieces=lambda _: iter([b"not HTTP\r\n\r\n"])), id="not HTTP"),
        pytest.param(Answer(pieces=lambda _: iter([b"HTTP/1.1 200 OK\r\nx-s3cret\r\n\r\n"])), id="half a header"),
        pytest.param(Answer(pieces=lambda _: iter([])), id="nothing"),
    ],
)
def test_anything_but_one_whole_good_answer_is_refused(server: WebServer, answer: Answer) -> None:
    server.answer = answer
    assert "s3cret" not in check_refused(inside(), server.url())
    assert len(server.requests) == 1


def test_an_answer_of_the_largest_size_is_taken(server: WebServer) -> None:
    server.answer = Answer(b"x" * MAX_BYTES)
    assert len(inside().get(server.url())) == MAX_BYTES


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_a_server_that_drips_is_not_listened_to_for_long(server: WebServer, beginning: bytes) -> None:
    """Every byte comes in time, and all of them together do not."""

    def drip(stopping: threading.Event) -> Iterator[bytes]:
        yield beginning
        while not stopping.wait(0.02):
            yield b"x"

    server.answer = Answer(pieces=drip)
    assert "no whole answer within 0.3 s" in check_refused(inside(timeout=0.3), server.url())


def test_a_fetch_whose_time_is_over_goes_no_further(server: WebServer) -> None:
    assert "within 0 s" in check_refused(inside(timeout=0), server.url())
    assert server.connections == 0


def test_a_server_that_does_not_shake_hands_is_not_waited_for(plain: WebServer) -> None:
    assert "0.2 s" in check_refused(inside(timeout=0.2), plain.url().replace("http://", "https://"))


def test_nobody_listens(server: WebServer) -> None:
    url = server.url()
    server.close()
    assert "refused" in check_refused(inside(), url)


@pytest.mark.parametrize(
    "names", [["other.test"], ["127.0.0.1.test"], ["*.localhost"]], ids=["another host", "a longer name", "a wildcard"]
)
def test_a_certificate_for_another_host_is_refused(server: WebServer, names: list[str]) -> None:
    server.show(web_certificate(CA, *names))
    assert "CERTIFICATE_VERIFY_FAILED" in check_refused(inside(), server.url())
    assert server.requests == []


def test_a_certificate_of_an_authority_that_nobody_trusts_is_refused(server: WebServer) -> None:
    """The authorities are those of the context that was given, and without one those of the web."""
    for fetch in (inside(tls=trusting(web_authority("other"))), inside(tls=None)):
        assert "CERTIFICATE_VERIFY_FAILED" in check_refused(fetch, server.url())
    assert server.requests == []


def test_a_refused_peer_is_sent_nothing(server: WebServer) -> None:
    seen: list[bytes] = []

    def check(certificate: bytes) -> None:
        seen.append(certificate)
        raise InvalidDocument("not who was expected")

    assert "not who was expected" in check_refused(inside(check_peer=check), server.url())
    assert seen[0].startswith(b"0\x82")
    assert server.requests == []


def test_an_accepted_peer_is_asked(server: WebServer) -> None:
    assert inside(check_peer=lambda _: None).get(server.url()) == b'{"a":1}'


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_private_networks_are_not_asked(address: str) -> None:
    assert not outbound.is_allowed(ipaddress.ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert "private network" in check_refused(Outbound(), f"https://{host}/")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"])
def test_public_addresses_may_be_asked(address: str) -> None:
    assert outbound.is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "fd00::1", "::1"])
def test_private_addresses_may_be_asked_where_that_is_said(address: str) -> None:
    assert outbound.is_allowed(ipaddress.ip_address(address), allow_private_addresses=True)


@pytest.mark.parametrize("address", ["224.0.0.1", "ff02::1", "0.0.0.0", "::"])
def test_an_address_of_many_or_of_none_is_never_asked(address: str) -> None:
    assert not outbound.is_allowed(ipaddress.ip_address(address), allow_private_addresses=True)


def test_a_name_that_stands_for_a_private_address_is_refused(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, ["127.0.0.1"])
    url = f"https://bundles.example.com:{server.port}/"
    assert "private network" in check_refused(Outbound(tls=TRUSTING), url)
    assert server.connections == 0


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what was checked is connected to, and nobody asks a second time."""
    asked = resolved(monkeypatch, ["192.0.2.1"], ["127.0.0.1"])
    monkeypatch.setattr(outbound, "is_allowed", lambda address, **_: str(address) == "192.0.2.1")
    connected: list[Any] = []

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    check_refused(Outbound(tls=TRUSTING), f"https://bundles.example.com:{server.port}/")
    assert asked == ["bundles.example.com"]
    assert connected == [("192.0.2.1", server.port)]


def test_of_several_addresses_those_that_may_be_asked_are_tried_in_turn(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = socket.create_server(("127.0.0.2", 0))
    closed.close()
    resolved(monkeypatch, ["224.0.0.1", "127.0.0.2", "127.0.0.1"])
    assert inside().get(server.url()) == b'{"a":1}'


def test_a_name_without_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert "no address" in check_refused(Outbound(), "https://bundles.example.com/")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://bundles.example.com/", "https"),
        ("bundles.example.com", "https"),
        ("https:///bundle", "https"),
        ("https://user:s3cret@bundles.example.com/", "password"),
        ("https://bundles.example.com/#s3cret", "fragment"),
        ("http://bundles.example.com/", "loopback"),
        ("https://[::1/", "not a URL"),
        ("https://bundles.example.com:99999999/", "PORT"),
        ("https://10.0.0.1/", "allow_private_addresses"),
        ("http://127.0.0.1/", "allow_private_addresses"),
    ],
)
def test_an_address_that_would_never_be_fetched_is_told_by_its_text(url: str, problem: str) -> None:
    assert problem in outbound.problem_of(url)
    assert "s3cret" not in check_refused(Outbound(), url)


@pytest.mark.parametrize("url", ["https://bundles.example.com/a?b=c", "https://93.184.216.34/", "https://h:8443"])
def test_an_address_that_could_be_fetched_has_no_problem(url: str) -> None:
    assert outbound.problem_of(url) == ""


def test_what_stands_in_the_query_is_in_no_error(server: WebServer) -> None:
    """I7: an address may hold a key."""
    server.answer = Answer(status=500)
    assert "s3cret" not in check_refused(inside(), server.url(path="/bundle?key=s3cret"))


def test_no_proxy_of_the_environment_is_asked(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert inside().get(server.url()) == b'{"a":1}'
