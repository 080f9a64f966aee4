"""A protected service on loopback: `<method> /<type>/<id>/<action>` is done where the verifier it embeds says so."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scopes import VerificationError, Verifier, challenge, presented

_PATIENCE = 30


class Protected:
    """One service of one process. `records` are what can be read of it, by resource; `done` is all that was done to it."""

    def __init__(self, name: str, issuer: str, audience: str, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.verifier = Verifier(issuer, audience)
        self.records = records
        self.done: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        self.verifier.wait_until_ready(_PATIENCE)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_PATIENCE)
        self.verifier.close()

    def url_of(self, scope: str) -> str:
        """Return where the action of a scope is done."""
        resource, _, action = scope.partition("#")
        return f"{self.url}/{resource.partition(':')[2]}/{action.partition('[')[0]}"

    def answer(
        self, method: str, path: str, sent: list[tuple[str, str]], record: Mapping[str, Any]
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Return status, header fields and body; `record` is what is to be written."""
        resource, _, action = path.strip("/").rpartition("/")
        resource = f"{self.name}:{resource}"
        try:
            token, proof = presented(sent)
            request = {"method": method, "url": self.url + path}
            grant = self.verifier.verify(token, action=action, resource=resource, proof=proof, **request)
            grant.check(record)
        except VerificationError as refusal:
            return refusal.status, challenge(refusal), {"error": refusal.code}
        self.done.append(f"{resource}#{action}")
        return 200, {}, grant.project(self.records.get(resource, {}))


def _handler_of(service: Protected) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            status, fields, body = service.answer(self.command, self.path, self.headers.items(), sent)
            self.send_response(status)
            for field in fields.items():
                self.send_header(*field)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
