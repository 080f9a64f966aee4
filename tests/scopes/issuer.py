"""An issuer on loopback that serves keys and a feed over real HTTP, and does wrong when told to."""

import contextlib
import json
import queue
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from scopes import jose
from scopes.clock import Clock
from scopes.keys import SigningKey
from scopes.revocations import MESSAGE_TYPE, SNAPSHOT_TYPE, Message, Snapshot
from tests.scopes.feed_log import FeedLog
from tests.scopes.tokens import key_set, new_key

JWKS = "/oauth/jwks.json"
FEED_KEYS = "/v1/feed/keys"
STREAM = "/v1/feed/stream"
ACKNOWLEDGEMENTS = "/v1/feed/acknowledgements"
CONSUME = "/v1/leases/consume"
EVENT_STREAM = (("Content-Type", "text/event-stream"),)


class Answer(NamedTuple):
    """What to answer instead of the truth. With status 0 the answer is lost."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """What somebody asked."""

    path: str
    query: str
    authorization: str | None
    body: bytes = b""


class Issuer:
    """Serves until closed. `answers` replaces what is said at a path; `requests` are those that came."""

    def __init__(self, clock: Clock, *, name: str | None = None) -> None:
        self.key = new_key()
        self.feed_key = new_key()
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[Request] = []
        self._streams: list[queue.SimpleQueue[bytes | None]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = name or self.address
        self.log = FeedLog(clock, issuer=self.url)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.cut()

    def times_asked(self, path: str) -> int:
        return sum(request.path == path for request in self.requests)

    @property
    def acknowledged(self) -> list[dict[str, Any]]:
        """What verifiers acknowledged, in the order in which it came."""
        return [json.loads(request.body) for request in self.requests if request.path == ACKNOWLEDGEMENTS]

    def revoke(self, kind: str, value: str = "", **narrowed: object) -> None:
        """Commit an event and tell it on every stream."""
        with self._lock:
            self._send(self.log.commit(kind, value, **narrowed))  # type: ignore[arg-type]

    def beat(self) -> None:
        """Send a heartbeat on every stream."""
        with self._lock:
            self._send(self.log.heartbeat())

    def send(self, said: Message | Snapshot, **signed: object) -> None:
        """Send anything on every stream."""
        with self._lock:
            self._send(said, **signed)

    def cut(self) -> None:
        """End every stream."""
        with self._lock:
            for stream in self._streams:
                stream.put(None)
            self._streams.clear()

    def open_stream(self) -> "queue.SimpleQueue[bytes | None]":
        with self._lock:
            stream: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            stream.put(self._as_sent(self.log.snapshot()))
            self._streams.append(stream)
            return stream

    def _send(self, said: Message | Snapshot, *, key: SigningKey | None = None, type: str | None = None) -> None:
        for stream in self._streams:
            stream.put(self._as_sent(said, key=key, type=type))

    def _as_sent(self, said: Message | Snapshot, *, key: SigningKey | None = None, type: str | None = None) -> bytes:
        event = "snapshot" if isinstance(said, Snapshot) else "message"
        own_type = SNAPSHOT_TYPE if isinstance(said, Snapshot) else MESSAGE_TYPE
        jws = jose.write(msgspec.json.encode(said), type=type or own_type, key=key or self.feed_key)
        return f"event: {event}\ndata: {jws}\n\n".encode()

    def answer_to(self, path: str) -> Answer:
        given = self.answers.get(path)
        if given is not None:
            return given if isinstance(given, Answer) else given()
        documents: dict[str, Any] = {JWKS: key_set(self.key), FEED_KEYS: key_set(self.feed_key)}
        documents |= {ACKNOWLEDGEMENTS: {"counted": True}}
        return Answer(200, json.dumps(documents[path]).encode()) if path in documents else Answer(404)


class _Server(ThreadingHTTPServer):
    def __init__(self, issuer: Issuer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = issuer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        # A proxy is asked with the whole address, which lets a test give the issuer any name.
        asked, issuer = urlsplit(self.path), self.server.issuer
        issuer.requests.append(Request(asked.path, asked.query, self.headers["Authorization"]))
        with contextlib.suppress(ConnectionError):
            if asked.path == STREAM and STREAM not in issuer.answers:
                self._stream(issuer)
            else:
                self._answer(issuer.answer_to(asked.path))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.issuer.requests.append(Request(self.path, "", self.headers["Authorization"], body))
        with contextlib.suppress(ConnectionError):
            self._answer(self.server.issuer.answer_to(self.path))

    def _answer(self, answer: Answer) -> None:
        if not answer.status:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _stream(self, issuer: Issuer) -> None:
        self._answer(Answer(headers=EVENT_STREAM))
        for chunk in iter(issuer.open_stream().get, None):
            self.wfile.write(chunk)

    def log_message(self, *_: object) -> None:
        return
