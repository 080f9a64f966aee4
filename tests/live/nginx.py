"""A real nginx on loopback that ends TLS and passes the client's certificate on; one process, ended by its id."""

import os
import socket
import subprocess
import threading
from pathlib import Path

from tests.broker.redis_server import free_port

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    ssl_client_certificate {folder}/clients.pem;
    ssl_verify_client optional;
    ssl_verify_depth 4;
    large_client_header_buffers 8 64k;
    location / {{
      proxy_pass {upstream};
      proxy_bind {address};
      proxy_buffering off;
      proxy_set_header Host $host;
      proxy_set_header ssl-client-cert $ssl_client_escaped_cert;
    }}
  }}
}}
"""


class Nginx:
    """Passes requests on to `upstream`, calling from `address`. Its folder holds its certificate and those of authorities."""

    def __init__(self, folder: Path, *, upstream: str, address: str) -> None:
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        text = _CONFIGURATION.format(folder=folder, port=self.port, upstream=upstream, address=address)
        (folder / "nginx.conf").write_text(text)
        command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        # Where it is installed is not in everybody's path.
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        self._process = subprocess.Popen(command, env={"PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pause = threading.Event()
        for _ in range(1_500):
            if self._listens():
                return
            assert self._process.poll() is None, (folder / "error.log").read_text()
            pause.wait(0.02)
        self.end()
        raise AssertionError("nginx does not listen")

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
