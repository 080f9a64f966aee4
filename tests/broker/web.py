"""A server on loopback that answers over TLS, or in the clear, and does wrong when told to."""

import contextlib
import datetime
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509

from tests.scopes.certificates import Made, authority, made


def since() -> datetime.datetime:
    """Return when certificates for real connections begin to be good: these are checked by the system's clock."""
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)


def web_authority(name: str = "web") -> Made:
    """Make an authority of the web, for now."""
    return authority(name, names=(), start=since())


def web_certificate(issuer: Made, *names: str) -> Made:
    """Make a server's certificate for names of hosts, for now."""
    return made(issuer, names=[x509.DNSName(name) for name in names or ("localhost",)], start=since())


def trusting(*authorities: Made) -> ssl.SSLContext:
    """Return a context that trusts these authorities and checks the host, as that of the web does."""
    context = ssl.create_default_context(cadata="".join(made.pem.decode() for made in authorities))
    # The authorities made here have no more than they need, as old ones of the web do.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class Answer(NamedTuple):
    """What is said: all at once, or where `pieces` is given piece by piece, for as long as somebody listens."""

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Callable[[threading.Event], Iterator[bytes]] | None = None

    def sent(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        given = {name for name, _ in self.headers}
        headers = [*self.headers, *([] if "Content-Length" in given else [("Content-Length", str(len(self.body)))])]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + self.body


class WebServer:
    """Answers every request with `answer`. `requests` are those that came, `connections` how many tried."""

    def __init__(self, *chain: Made, answer: Answer | None = None) -> None:
        """Show the chain of certificates, leaf first; without one, speak in the clear."""
        self.answer = answer or Answer()
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = _served(chain) if chain else None
        self._stopping = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def url(self, host: str = "localhost", path: str = "/bundle") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def show(self, *chain: Made) -> None:
        """Show other certificates from now on."""
        self._tls = _served(chain)

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            # To close a listening socket does not wake who waits on it.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            if self._tls is None:
                self._talk(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secured:
                self._talk(secured)

    def _talk(self, connection: Any) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(4096)
            if not received:
                return
            head += received
        # What is not read would have the other side lose the answer.
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        while length is not None and len(head.partition(b"\r\n\r\n")[2]) < int(length[1]):
            head += connection.recv(65536)
        self.requests.append(head)
        answer = self.answer
        if answer.pieces is None:
            connection.sendall(answer.sent())
            return
        for piece in answer.pieces(self._stopping):
            connection.sendall(piece)


def _served(chain: tuple[Made, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.pem"
        path.write_bytes(b"".join([chain[0].key_pem, *(made.pem for made in chain)]))
        context.load_cert_chain(path)
    return context
