"""A trust domain's bundle at an HTTPS endpoint (SPIFFE Federation §5), fetched again and again.

Who the endpoint is, is proven in one of two ways: by the authorities of the web and the host's name, or by an X.509-SVID with
one exact SPIFFE id, of the trust domain itself. For the second the first bundle comes from a file; from then on each bundle
that was fetched proves who answers next.
"""

import functools
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker.errors import ConfigurationError
from broker.identity.bundle import BROKEN, UNKNOWN, Bundle
from broker.identity.bundle_file import BundleFile
from broker.identity.held_bundle import HeldBundle
from broker.identity.refreshed import Refreshed
from broker.identity.x509 import check_leaf, spiffe_id_of
from broker.outbound import Outbound, problem_of
from scopes.clock import Clock
from scopes.errors import InvalidDocument


class EndpointIdentity(NamedTuple):
    """The SPIFFE id that the endpoint has to prove, and the bundle by which it is believed the first time."""

    spiffe_id: str
    bootstrap: BundleFile


class BundleEndpoint(HeldBundle):
    """Holds the newest bundle that could be fetched. None is known before the first fetch, whatever the file says."""

    def __init__(
        self,
        trust_domain: str,
        url: str,
        *,
        clock: Clock,
        identity: EndpointIdentity | None = None,
        allow_private_addresses: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare to fetch; raise `ConfigurationError` for an address that would never be asked.

        Without an `identity` the endpoint proves itself by `tls`, and without that by the authorities of the web.
        """
        problem = problem_of(url, allow_private_addresses=allow_private_addresses)
        if problem:
            raise ConfigurationError([f"bundle_endpoint of {trust_domain}: {problem}"])
        self._url = url
        self._identity = identity
        self._outbound = functools.partial(Outbound, allow_private_addresses=allow_private_addresses)
        self._tls = tls
        self._document = b""
        self._newest: Bundle | None = None
        held = Refreshed(f"bundle of {trust_domain}", self._fetch, clock=clock, interval=lambda bundle: bundle.refresh_hint)
        super().__init__(url, held)

    def _fetch(self) -> Bundle:
        document = self._ask()
        if self._newest is not None and document == self._document:
            return self._newest
        bundle = Bundle.parse(document)
        bundle.follow(self._known())
        self._newest, self._document = bundle, document
        return bundle

    def _ask(self) -> bytes:
        if self._identity is None:
            return self._outbound(tls=self._tls).get(self._url)
        check = functools.partial(check_endpoint, spiffe_id=self._identity.spiffe_id)
        return self._outbound(tls=trusting(self._known().x509_authorities), check_peer=check).get(self._url)

    def _known(self) -> Bundle:
        """Return the newest bundle of those that were fetched and the one in the file, which an operator may have renewed."""
        fetched = self._newest
        if self._identity is None:
            return fetched or UNKNOWN
        written = self._identity.bootstrap.bundle
        return written if fetched is None or (written.sequence or 0) > (fetched.sequence or 0) else fetched


def trusting(authorities: tuple[x509.Certificate, ...]) -> ssl.SSLContext:
    """Return a TLS context that trusts these authorities and nobody else's, above all not those of the system.

    It does not look at the host's name: who the server is, its SPIFFE id says. Raises `InvalidDocument` without an authority.
    """
    if not authorities:
        raise InvalidDocument("no X.509 authority is known by which the endpoint could prove itself")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An authority of a bundle is trusted as it is, also where somebody else has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=b"".join(authority.public_bytes(Encoding.DER) for authority in authorities))
    return context


def check_endpoint(unverified_certificate: bytes, *, spiffe_id: str) -> None:
    """Raise `InvalidDocument` unless a certificate with a good chain is the X.509-SVID of exactly this id (X509-SVID §5.2)."""
    try:
        leaf = x509.load_der_x509_certificate(unverified_certificate)
        check_leaf(leaf)
        found = spiffe_id_of(leaf)
    except BROKEN as error:
        raise InvalidDocument(f"the endpoint's certificate is not accepted: {error}") from None
    if found != spiffe_id:
        raise InvalidDocument(f"the endpoint is not {spiffe_id}")
