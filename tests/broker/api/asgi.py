"""Talks to the application as a server does, so that a test sees a stream frame by frame and can hang up in the middle."""

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from litestar.types import ASGIApp


class Exchange:
    """One request and what came back so far; `async with` hangs up at its end."""

    def __init__(self, app: ASGIApp, path: str, *, assertion: str | None = None, **parameters: str) -> None:
        headers = [(b"host", b"127.0.0.1")]
        if assertion is not None:
            headers.append((b"authorization", f"Bearer {assertion}".encode()))
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(parameters).encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8750),
            "app": app,
            "state": {},
            "extensions": {},
        }
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self._outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ended = False
        self._reads = asyncio.Event()
        self._reads.set()
        self._run = asyncio.create_task(app(scope, self._incoming.get, self._send))  # type: ignore[arg-type]

    async def __aenter__(self) -> "Exchange":
        started = await asyncio.wait_for(self._outgoing.get(), 30)
        self.status = int(started["status"])
        self.headers = {name.decode().lower(): value.decode() for name, value in started["headers"]}
        return self

    async def __aexit__(self, *_: object) -> None:
        self.read_on()
        await self.hang_up()

    async def chunk(self) -> bytes:
        """Return the next piece of the body; empty at its end."""
        if self._ended:
            return b""
        message = await asyncio.wait_for(self._outgoing.get(), 30)
        self._ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    async def body(self) -> bytes:
        """Return all that is left of the body."""
        pieces = []
        while not self._ended:
            pieces.append(await self.chunk())
        return b"".join(pieces)

    async def json(self) -> Any:
        return json.loads(await self.body())

    def read_nothing(self) -> None:
        """Take nothing from the connection any more, as a reader that hangs."""
        self._reads.clear()

    def read_on(self) -> None:
        self._reads.set()

    async def hang_up(self) -> None:
        """Break the connection, and wait until the application is done with it."""
        self._incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self._run, 30)

    async def _send(self, message: Any) -> None:
        await self._reads.wait()
        self._outgoing.put_nowait(message)
