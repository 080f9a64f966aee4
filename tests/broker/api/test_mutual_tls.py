"""The listener for mutual TLS, with real connections: who gets in, and what is said about them."""

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509

from broker.api.mutual_tls import Certificate, Listener
from broker.errors import ConfigurationError
from scopes.client_certificate import of_connection
from tests.scopes.certificates import DIGITAL_SIGNATURE, Made, authority, leaf, made

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(minutes=5)
BOT = "spiffe://prod/bot"

SERVER_CA = authority("server", start=NOW)
PROD, STAGE, STRANGER = (authority(name, start=NOW) for name in ("prod", "stage", "prod"))
MIDDLE = authority("middle", PROD, start=NOW)


def server_certificate() -> Made:
    return made(SERVER_CA, names=[x509.DNSName("localhost")], usages=DIGITAL_SIGNATURE, start=NOW)


class Served:
    """A listener on loopback, whose application says what it was told about the connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trusted: tuple[Made, ...] = (PROD, STAGE)
        self.scopes: list[Any] = []
        self.write(server_certificate())
        (folder / "ca.pem").write_bytes(SERVER_CA.pem)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.listener = Listener(("127.0.0.1", self.port), self.certificate, self.authorities)

    @property
    def certificate(self) -> Certificate:
        return Certificate(self.folder / "server.pem", self.folder / "server.key")

    def authorities(self) -> tuple[x509.Certificate, ...]:
        return tuple(authority.certificate for authority in self.trusted)

    def write(self, server: Made) -> None:
        self.certificate.chain.write_bytes(server.pem)
        self.certificate.key.write_bytes(server.key_pem)

    def context(self, *chain: Made) -> ssl.SSLContext:
        """Trust the server, and show these certificates, the leaf first."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if chain:
            (self.folder / "client.pem").write_bytes(b"".join(one.pem for one in chain))
            (self.folder / "client.key").write_bytes(chain[0].key_pem)
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context

    def client(self, *chain: Made) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=f"https://localhost:{self.port}", verify=self.context(*chain), trust_env=False)

    async def ask(self, *chain: Made, **parts: Any) -> Any:
        """Ask over a new connection, and return what the application was told."""
        async with self.client(*chain) as client:
            await client.get("/", **parts)
        return self.scopes[-1]

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path)
    async with served.listener.serving(served.application):
        yield served


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Expect the handshake to fail; with TLS 1.3 the client hears of it only when it reads."""
    with pytest.raises((httpx2.TransportError, ssl.SSLError, ConnectionError)):
        yield


async def test_the_application_is_told_the_certificates_of_the_connection(served: Served) -> None:
    bot = leaf(PROD, BOT, start=NOW)
    assert of_connection(await served.ask(bot)) == (bot.der,)
    below = leaf(MIDDLE, BOT, start=NOW)
    assert of_connection(await served.ask(below, MIDDLE)) == (below.der, MIDDLE.der)


async def test_each_connection_has_its_own(served: Served) -> None:
    one, two = leaf(PROD, BOT, start=NOW), leaf(STAGE, "spiffe://stage/bot", start=NOW)
    assert of_connection(await served.ask(one)) == (one.der,)
    assert of_connection(await served.ask(two)) == (two.der,)


async def test_no_header_changes_who_is_at_the_other_end(served: Served) -> None:
    """TRAPS 11."""
    bot = leaf(PROD, BOT, start=NOW)
    scope = await served.ask(bot, headers={"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "http", "extensions": "{}"})
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "https")
    assert of_connection(scope) == (bot.der,)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([], id="no certificate"),
        pytest.param([leaf(STRANGER, BOT, start=NOW)], id="of an unknown authority"),
        pytest.param([leaf(STRANGER, BOT, start=NOW), STRANGER], id="of one that was sent along"),
        pytest.param([leaf(None, BOT, start=NOW)], id="self-signed"),
        pytest.param([leaf(PROD, BOT, start=NOW, lifetime=datetime.timedelta(minutes=1))], id="expired"),
    ],
)
async def test_nobody_else_gets_in(served: Served, chain: list[Made]) -> None:
    with refused():
        await served.ask(*chain)
    assert not served.scopes


async def test_without_a_certificate_the_handshake_fails_and_nobody_fills_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection without one would fail later too, but as something that nobody foresaw."""
    with refused():
        await served.ask()
    assert not caplog.records


async def test_an_older_tls_is_refused(served: Served) -> None:
    context = served.context(leaf(PROD, BOT, start=NOW))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with refused():
        await asyncio.open_connection("localhost", served.port, ssl=context, family=socket.AF_INET)


async def test_whoever_is_trusted_can_change_while_it_runs(served: Served) -> None:
    known, new = leaf(PROD, BOT, start=NOW), leaf(STRANGER, BOT, start=NOW)
    await served.ask(known)
    served.trusted = (STRANGER,)
    assert of_connection(await served.ask(new)) == (new.der,)
    with refused():
        await served.ask(known)
    served.trusted = ()
    with refused():
        await served.ask(new)


async def test_a_new_certificate_of_the_server_is_taken_when_it_is_whole(served: Served) -> None:
    bot, new = leaf(PROD, BOT, start=NOW), server_certificate()
    before = await presented_by(served, bot)
    served.certificate.chain.write_bytes(new.pem)
    os.utime(served.certificate.chain, (1, 1))
    assert await presented_by(served, bot) == before
    served.certificate.key.write_bytes(new.key_pem)
    assert await presented_by(served, bot) == new.der
    served.certificate.key.unlink()
    assert await presented_by(served, bot) == new.der


async def presented_by(served: Served, bot: Made) -> bytes:
    """Return the certificate that the server shows."""
    _, writer = await asyncio.open_connection("localhost", served.port, ssl=served.context(bot), family=socket.AF_INET)
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_ticket_takes_a_session_up_again_without_its_certificate(served: Served, version: ssl.TLSVersion) -> None:
    """What is taken up from the server's memory in TLS 1.2 still has its chain, and ends with the authorities of that time."""
    context = served.context(leaf(PROD, BOT, start=NOW))
    context.minimum_version = context.maximum_version = version
    session = await asyncio.to_thread(session_of, served, context)
    assert session is None or not session.has_ticket
    served.trusted = (STAGE,)
    # With TLS 1.3 the client hears of its refusal only when it reads, or of an end.
    with contextlib.suppress(OSError):
        await asyncio.to_thread(session_of, served, context, session)
    assert len(served.scopes) == 1


def session_of(served: Served, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
    plain = socket.create_connection(("127.0.0.1", served.port), timeout=30)
    with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while connection.recv(1024):
            pass
        return connection.session


async def test_it_ends_what_is_open_when_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.api.mutual_tls.STOP_TIMEOUT", 0.2)
    served = Served(tmp_path)
    reached = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with served.client(leaf(PROD, BOT, start=NOW)) as client:
        async with served.listener.serving(endless):
            request = asyncio.create_task(client.get("/"))
            await asyncio.wait_for(reached.wait(), 30)
        assert (await asyncio.wait_for(request, 30)).status_code == 500


async def test_an_address_that_is_taken_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    served = Served(tmp_path)
    with socket.create_server(("127.0.0.1", served.port)), pytest.raises(ConfigurationError, match="mtls_listen"):
        async with served.listener.serving(served.application):
            pass


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"], ids=["no file", "an empty file", "another file"])
def test_a_server_without_its_certificate_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    served = Served(tmp_path)
    served.certificate.chain.unlink()
    if content is not None:
        served.certificate.chain.write_bytes(content)
    with pytest.raises(ConfigurationError, match="tls_certificate"):
        Listener(("127.0.0.1", 0), served.certificate, served.authorities)
