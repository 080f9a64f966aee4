"""What real connections with mutual TLS are made with: a server's certificate, and workloads below an intermediate."""

import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from tests.broker.certified import START, authority_of, svid_of
from tests.broker.world import BOT
from tests.scopes.certificates import Made, authority, made


class Identity(NamedTuple):
    """A workload's chain, leaf first, and how it connects."""

    chain: tuple[Made, ...]
    context: ssl.SSLContext

    @property
    def der(self) -> bytes:
        return self.chain[0].der


class Certificates:
    """A server on localhost, and a trust domain whose leaves are signed by an intermediate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.root = authority_of()
        self.middle = authority_of("middle", self.root)
        own = authority("server", start=START)
        server = made(own, names=[x509.DNSName("localhost")], start=START)
        (folder / "ca.pem").write_bytes(own.pem)
        (folder / "server.pem").write_bytes(server.pem)
        (folder / "server.key").write_bytes(server.key_pem)
        (folder / "clients.pem").write_bytes(self.root.pem)
        (folder / "middle.pem").write_bytes(self.middle.pem)
        self.made = 0

    def trusted(self) -> ssl.SSLContext:
        """Believe the server, and show nothing."""
        return ssl.create_default_context(cafile=self.folder / "ca.pem")

    def identity(self, workload: str = BOT, *, issuer: Made | None = None) -> Identity:
        """Make a workload's certificate, below the intermediate unless said otherwise."""
        chain = (svid_of(issuer or self.middle, workload), *(() if issuer is not None else (self.middle,)))
        self.made += 1
        certificate, key = self.files(self.made)
        certificate.write_bytes(b"".join(one.pem for one in chain))
        key.write_bytes(chain[0].key_pem)
        context = self.trusted()
        context.load_cert_chain(certificate, key)
        return Identity(chain, context)

    def files(self, number: int) -> tuple[Path, Path]:
        return self.folder / f"client-{number}.pem", self.folder / f"client-{number}.key"
