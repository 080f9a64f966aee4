"""The protected service around the README's example: it serves what `show_ticket` returns, on loopback."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ShowTicket = Callable[[int, Message], tuple[int, dict[str, Any]]]

TICKET = {"subject": "Cannot sign in", "description": "Since this morning.", "email": "customer@example.com"}


@contextmanager
def serving(show_ticket: ShowTicket) -> Iterator[str]:
    """Serve `/tickets/<number>` until the end; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(show_ticket))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_of(show_ticket: ShowTicket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.rpartition("/")[2])
            status, body = show_ticket(number, self.headers)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
