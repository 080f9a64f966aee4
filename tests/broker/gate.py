"""A TCP connection with a gate in the middle: it can lead elsewhere, lose an answer, or be shut."""

import select
import socket
import socketserver
import threading

_CHUNK = 65_536


class Gate:
    """Passes everything on to `target` (a port on loopback) until it is told to do wrong. `url` is its own address."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.lost = 0
        self._losing = 0
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def lose_answers(self, count: int) -> None:
        """Let the next requests through, and break the connection instead of passing their answers back."""
        self._losing = count

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def pass_on(self, client: socket.socket) -> None:
        """Serve one connection until either side ends it."""
        with socket.create_connection(("127.0.0.1", self.target)) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    chunk = source.recv(_CHUNK)
                    if not chunk or (source is server and self._is_lost()):
                        return
                    (server if source is client else client).sendall(chunk)

    def _is_lost(self) -> bool:
        if not self._losing:
            return False
        self._losing -= 1
        self.lost += 1
        return True


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def _handler_of(gate: Gate) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                gate.pass_on(self.request)
            except OSError:
                return

    return Handler
