"""The network between the processes, in our hands: links that are cut, held up or slow, and fronts that tamper with feeds."""

import contextlib
import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from tests.broker.gate import Gate
from tests.live.faults.tampering import Tampering

_CHUNK = 65_536
_STREAM = b"/v1/feed/stream"
_HEAD_OF_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Link(Gate):
    """Leads from one party to a port.

    `delay` is the seconds by which every answer is late; where `tampering` names an audience, its feed is not what was sent.
    """

    def __init__(self, target: int) -> None:
        self.delay = 0.0
        self.tampering: Mapping[str, Tampering] = {}
        self._is_cut = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        super().__init__(target)

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._is_cut = True
        self.hang_up()

    def hold(self) -> None:
        """Deliver nothing, and keep every connection: what was sent meanwhile arrives late."""
        self._flowing.clear()

    def mend(self) -> None:
        """Be a good link again. Who was tampered with has to connect anew."""
        if self.tampering:
            self.tampering = {}
            self.hang_up()
        self._is_cut, self.delay = False, 0.0
        self._losing = 0
        self._flowing.set()

    def lead_to(self, target: int) -> None:
        """Lead elsewhere from now on, also those who are connected."""
        self.target = target
        self.hang_up()

    def hang_up(self) -> None:
        """Break every connection; new ones are welcome."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def pass_on(self, client: socket.socket) -> None:
        """Serve one connection until either side ends it."""
        if self._is_cut:
            return
        self._flowing.wait()
        with socket.create_connection(("127.0.0.1", self.target), timeout=10) as server:
            server.settimeout(None)
            self._open |= {client, server}
            try:
                tampering = self.tampering
                if tampering:
                    self._tamper(client, server, tampering)
                else:
                    self._shuttle(client, server)
            finally:
                self._open -= {client, server}

    def _shuttle(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for source in select.select([client, server], [], [])[0]:
                chunk = source.recv(_CHUNK)
                self._flowing.wait()
                if not chunk or (source is server and self._is_lost()):
                    return
                if source is server and self.delay:
                    time.sleep(self.delay)
                (server if source is client else client).sendall(chunk)

    def _tamper(self, client: socket.socket, server: socket.socket, tampering: Mapping[str, Tampering]) -> None:
        head = _read_head(client)
        server.sendall(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n").replace(b"Connection: keep-alive\r\n", b""))
        if _STREAM not in head:
            while chunk := server.recv(_CHUNK):
                client.sendall(chunk)
            return
        with contextlib.closing(http.client.HTTPResponse(server)) as answer:
            answer.begin()
            if answer.status != http.HTTPStatus.OK:
                client.sendall(_UNAVAILABLE)
                return
            client.sendall(_HEAD_OF_STREAM)
            for frame in tampering[_audience(head)](_frames(answer)):
                client.sendall(frame)


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = client.recv(_CHUNK)
        if not chunk:
            raise OSError("hung up before the request was whole")
        head += chunk
    return head


def _audience(head: bytes) -> str:
    url = head.split(b" ", 2)[1].decode()
    return parse_qs(urlsplit(url).query)["aud"][0]


def _frames(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Take the stream apart: each frame ends in an empty line."""
    frame = b""
    while line := answer.readline():
        frame += line
        if line == b"\n":
            yield frame
            frame = b""
