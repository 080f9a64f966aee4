"""The listener for mutual TLS: the same application, and beside each request the certificates of its connection.

A server of its own, in the worker's process and event loop, for the one that serves everybody does not tell which certificate
a client has shown. The handshake demands one of any trusted domain and proves that its key is held; who that is, and whether
still, `identity` looks up for every request.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.errors import ConfigurationError
from scopes.client_certificate import Chain

STOP_TIMEOUT = 3
"""The seconds that requests have to finish when the broker stops; its server waits five before it ends the process."""

KEEP_ALIVE = 75
"""The seconds an idle connection is kept, for a handshake costs more than most requests."""

_DER = 2
"""How the methods of Python's own TLS module name DER (`_ssl.ENCODING_DER`)."""

Authorities = Callable[[], tuple[x509.Certificate, ...]]
"""Returns the certificate authorities of all trusted domains, those in force now."""


class Certificate(NamedTuple):
    """The server's certificate chain and its key, in files (PEM)."""

    chain: Path
    key: Path

    @property
    def stamp(self) -> tuple[int, ...]:
        """What changes when the files do; raises `OSError` without them."""
        return tuple(path.stat().st_mtime_ns for path in self)


class Listener:
    """Serves an application over mutual TLS. Workers share the port, as they share the other one."""

    def __init__(self, address: tuple[str, int], certificate: Certificate, authorities: Authorities) -> None:
        """Read the certificate; raise `ConfigurationError` if it cannot be used."""
        self._address = address
        self._trust = _FollowedTrust(certificate, authorities)

    @asynccontextmanager
    async def serving(self, application: Any) -> AsyncIterator[None]:
        """Serve as long as the context lasts; raise `ConfigurationError` if the address is taken."""
        with _listening(self._address) as listening:
            server = _Server(self._configuration(application))
            task = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield
            finally:
                server.should_exit = True
                await task

    def _configuration(self, application: Any) -> uvicorn.Config:
        return uvicorn.Config(
            application,
            interface="asgi3",
            http=_Protocol,
            ws="none",
            lifespan="off",
            # Who is at the other end is the connection's to say, and no header's.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ssl_context_factory=lambda *_: self._trust,
        )


class _FollowedTrust(ssl.SSLContext):
    """Has each handshake done by a context with the authorities and the certificate of that moment.

    A context can be told to trust more, and not less; so what has changed makes a new one. What an earlier one remembers of
    its sessions ends with it.
    """

    def __new__(cls, certificate: Certificate, authorities: Authorities) -> "_FollowedTrust":
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Certificate, authorities: Authorities) -> None:
        self._certificate = certificate
        self._authorities = authorities
        try:
            self._made_of = (certificate.stamp, authorities())
            self._made = _context(certificate, self._made_of[1])
        except OSError as error:
            raise ConfigurationError([f"tls_certificate, tls_key: {error.strerror or error}"]) from None

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Begin a handshake."""
        return self._current().wrap_bio(*arguments, **named)

    def _current(self) -> ssl.SSLContext:
        authorities = self._authorities()
        # A new certificate is written as two files, and in between they do not fit: then the last ones go on. Nobody is let in
        # by it who should not be, for each request's certificate is looked at anew.
        with contextlib.suppress(OSError):
            wanted = (self._certificate.stamp, authorities)
            if wanted != self._made_of:
                self._made, self._made_of = _context(self._certificate, authorities), wanted
        return self._made


class _Server(uvicorn.Server):
    """A server inside another one's process, whose signals are not its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whom they belong to."""
        yield


class _Protocol(H11Protocol):
    """Puts the client's certificates beside each request (ASGI, "TLS Extension")."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the certificates once, when the handshake is done."""
        super().connection_made(transport)
        chain = [ssl.DER_cert_to_PEM_cert(certificate) for certificate in _chain(transport.get_extra_info("ssl_object"))]
        inner = self.app

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "extensions": {"tls": {"client_cert_chain": chain}}}, receive, send)

        self.app = application


def _chain(connection: Any) -> Chain:
    """Return what the client sent, in DER, the leaf first."""
    leaf = connection.getpeercert(binary_form=True)
    if hasattr(connection, "get_unverified_chain"):
        sent = connection.get_unverified_chain()
    else:
        # Python has no public name for it before 3.13.
        sent = [certificate.public_bytes(_DER) for certificate in connection._sslobj.get_unverified_chain()]
    return (leaf, *(certificate for certificate in sent if certificate != leaf))


def _context(certificate: Certificate, authorities: tuple[x509.Certificate, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # An authority of a trust domain need not have signed itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # A session is not taken up again without showing the certificate, and none changes hands half-way.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    if authorities:
        context.load_verify_locations(cadata=b"".join(authority.public_bytes(Encoding.DER) for authority in authorities))
    return context


@contextmanager
def _listening(address: tuple[str, int]) -> Iterator[socket.socket]:
    listening = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    with contextlib.closing(listening):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listening.bind(address)
        except OSError as error:
            raise ConfigurationError([f"mtls_listen: cannot listen on {address[0]}:{address[1]}: {error.strerror}"]) from None
        listening.listen()
        yield listening
