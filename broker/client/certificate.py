"""A workload's certificate and its key, in two files that somebody renews, and connections that show it."""

import ssl
from pathlib import Path
from typing import NamedTuple

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ExtensionNotFound, SubjectAlternativeName, UniformResourceIdentifier

from broker.client.errors import Misconfigured
from scopes.client_certificate import thumbprint


class Shown(NamedTuple):
    """A certificate as it is shown: its thumbprint, the SPIFFE id it names, and how to connect with it."""

    thumbprint: str
    workload: str
    context: ssl.SSLContext


class ClientCertificate:
    """An X.509-SVID in a file (PEM, leaf first) and its key in another; both are read again when they are renewed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Read both; raise `Misconfigured` where they cannot be used."""
        self._certificate, self._key = certificate, key
        try:
            self._stamp = self._look()
            self._shown = self._read()
        except (OSError, ValueError, ExtensionNotFound) as error:
            raise Misconfigured(f"{certificate}, {key}: not a workload's certificate and its key: {error}") from None

    @property
    def current(self) -> Shown:
        """What is to be shown now, the same object until it is renewed. A pair that cannot be used leaves the last good one."""
        try:
            stamp = self._look()
            # A renewed pair is written as two files, and in between they do not fit.
            if stamp != self._stamp:
                self._shown, self._stamp = self._read(), stamp
        except (OSError, ValueError, ExtensionNotFound):
            return self._shown
        return self._shown

    def transport(self) -> httpx2.AsyncBaseTransport:
        """Return connections that show the certificate."""
        return _Certified(self)

    def _look(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in (self._certificate, self._key))

    def _read(self) -> Shown:
        leaf = x509.load_pem_x509_certificates(self._certificate.read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(SubjectAlternativeName).value
        (workload,) = names.get_values_for_type(UniformResourceIdentifier)
        context = httpx2.create_ssl_context()
        context.load_cert_chain(self._certificate, self._key)
        return Shown(thumbprint(leaf.public_bytes(Encoding.DER)), workload, context)


class _Certified(httpx2.AsyncBaseTransport):
    """Connects anew when the certificate is renewed: an open connection goes on showing the old one."""

    def __init__(self, certificate: ClientCertificate) -> None:
        self._certificate = certificate
        self._shown = certificate.current
        self._inner = httpx2.AsyncHTTPTransport(verify=self._shown.context)
        self._former: httpx2.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request over a connection that shows the certificate as it is now."""
        shown = self._certificate.current
        if shown is not self._shown:
            before, self._shown = self._former, shown
            # What is on its way keeps its connection until the certificate is renewed once more.
            self._former, self._inner = self._inner, httpx2.AsyncHTTPTransport(verify=shown.context)
            if before is not None:
                await before.aclose()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in (self._former, self._inner):
            if transport is not None:
                await transport.aclose()
