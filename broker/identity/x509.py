"""X.509-SVIDs, checked against the authorities of the trust domain that their one URI names (SPIFFE X509-SVID §2 to §5).

Nobody else's word counts: not the system's trust store, and not that a TLS layer or a proxy has looked at the chain before. So
it does not matter how long ago that was, or for which domain.
"""

import datetime
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.errors import ConfigurationError, InvalidClient
from broker.identity.bundle import BROKEN, Bundle
from broker.identity.trust_domain import TrustDomain
from broker.spiffe_id import trust_domain
from broker.workload import Workload
from scopes.client_certificate import MAX_CERTIFICATES, Chain, thumbprint
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import MIN_RSA_BITS

MAX_CERTIFICATE = 16 * 1024
"""The bytes of one certificate; with the largest keys in use and many names it has a quarter of it."""

MAX_INTERMEDIATES = 4
"""How many authorities may stand between a leaf and its trust domain's own; SPIRE nests two or three."""

MAX_REMEMBERED = 10_000
"""How many verified chains are remembered; a workload shows the same one until it rotates."""


class Intermediates:
    """Authorities below a trust domain's own, from a file, for proxies that pass on the leaf alone; trusted for nothing."""

    def __init__(self, file: Path) -> None:
        """Read the file (PEM); raise `ConfigurationError` if it cannot be used."""
        self._file = file
        self._stamp = self._modified()
        self._certificates = self._read()

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Those in force. A changed file that cannot be read leaves the last good ones."""
        stamp = self._modified()
        if stamp != self._stamp:
            try:
                self._certificates, self._stamp = self._read(), stamp
            except ConfigurationError:
                return self._certificates
        return self._certificates

    def _modified(self) -> int:
        try:
            return self._file.stat().st_mtime_ns
        except OSError:
            return 0

    def _read(self) -> tuple[x509.Certificate, ...]:
        try:
            return tuple(x509.load_pem_x509_certificates(self._file.read_bytes()))
        except (OSError, *BROKEN) as error:
            raise ConfigurationError([f"{self._file}: not certificates in PEM: {error}"]) from None


class _Verified(NamedTuple):
    """A workload, by whose authorities, and the moments between which every certificate of its path is good (ms)."""

    workload: Workload
    bundle: Bundle
    start: int
    end: int


class X509Svids:
    """Authenticates workloads by their X.509-SVIDs. That the caller holds the private key, the TLS handshake has shown."""

    def __init__(
        self, trust_domains: Iterable[TrustDomain], *, intermediates: Mapping[str, Intermediates], clock: Clock
    ) -> None:
        """Believe these domains; `intermediates` are by the name of their domain."""
        self._trust_domains = {domain.name: domain for domain in trust_domains}
        self._intermediates = intermediates
        self._clock = clock
        self._remembered: dict[tuple[bytes, ...], _Verified] = {}

    def authenticate(self, unverified_chain: Chain) -> Workload:
        """Return the workload that the chain (DER, leaf first) proves; raise `InvalidClient` for anything else.

        Raises `Unavailable` where what would prove it is not known now.
        """
        digests = tuple(hashlib.sha256(certificate).digest() for certificate in unverified_chain)
        known = self._remembered.get(digests)
        now = self._clock.now().wall
        if known is not None and self._is_good(known, now):
            return known.workload
        try:
            verified = self._verify(unverified_chain, now)
        except (InvalidDocument, *BROKEN) as error:
            raise InvalidClient(f"the certificate is not accepted: {error}") from None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[digests] = verified
        return verified.workload

    def _is_good(self, known: _Verified, now: int) -> bool:
        domain = self._trust_domains.get(trust_domain(known.workload.id) or "")
        return domain is not None and domain.bundle is known.bundle and known.start <= now < known.end

    def _verify(self, unverified_chain: Chain, now: int) -> _Verified:
        leaf, *between = _loaded(unverified_chain)
        id = spiffe_id_of(leaf)
        domain = self._trust_domains.get(trust_domain(id) or "")
        if domain is None:
            raise InvalidDocument("it does not name a workload of a trusted domain")
        check_leaf(leaf)
        bundle, known = domain.known_bundle, self._intermediates.get(domain.name)
        between += known.certificates if known is not None else ()
        try:
            path = _path(leaf, between, bundle.x509_authorities, now)
        except InvalidDocument:
            # The domain may have begun to sign with a new authority.
            domain.source.wake()
            raise
        end = _milliseconds(leaf.not_valid_after_utc) // 1000
        workload = Workload(id, end, "x509-svid", certificate=thumbprint(unverified_chain[0]))
        return _Verified(
            workload,
            bundle,
            start=max(_milliseconds(certificate.not_valid_before_utc) for certificate in path),
            end=min(_milliseconds(certificate.not_valid_after_utc) for certificate in path),
        )


def _loaded(unverified_chain: Chain) -> list[x509.Certificate]:
    if not 1 <= len(unverified_chain) <= MAX_CERTIFICATES:
        raise InvalidDocument(f"a chain has one to {MAX_CERTIFICATES} certificates")
    if max(len(certificate) for certificate in unverified_chain) > MAX_CERTIFICATE:
        raise InvalidDocument(f"a certificate has at most {MAX_CERTIFICATE} bytes")
    return [x509.load_der_x509_certificate(certificate) for certificate in unverified_chain]


def spiffe_id_of(leaf: x509.Certificate) -> str:
    """Return the one URI of a certificate that nobody has verified yet (§2, §5.2)."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise InvalidDocument("it has no URI") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise InvalidDocument("it has to have exactly one URI, which is its SPIFFE id")
    return uris[0]


def check_leaf(leaf: x509.Certificate) -> None:
    """Raise `InvalidDocument` unless the certificate is a workload's own, and not one that signs others (§4, §5.2)."""
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) and not (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS
    ):
        raise InvalidDocument(f"its key is neither EC nor RSA with {MIN_RSA_BITS} bits")
    extensions = {type(extension.value): extension.value for extension in leaf.extensions}
    constraints, usage = extensions.get(x509.BasicConstraints), extensions.get(x509.KeyUsage)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise InvalidDocument("it is a certificate authority's")
    if not isinstance(usage, x509.KeyUsage) or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise InvalidDocument("its key usage has to have digitalSignature, and neither keyCertSign nor cRLSign")
    extended = extensions.get(x509.ExtendedKeyUsage)
    if isinstance(extended, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise InvalidDocument("its extended key usage does not have clientAuth")


def _path(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], authorities: tuple[x509.Certificate, ...], now: int
) -> list[x509.Certificate]:
    """Return the path from the leaf to one of the authorities that is good at that moment (RFC 5280 §6)."""
    if not authorities:
        raise InvalidDocument("its trust domain has no X.509 authorities")
    builder = verification.PolicyBuilder().store(verification.Store(list(authorities)))
    builder = builder.time(datetime.datetime.fromtimestamp(now / 1000, datetime.UTC).replace(tzinfo=None))
    try:
        verified = builder.max_chain_depth(MAX_INTERMEDIATES).build_client_verifier().verify(leaf, list(between))
    except verification.VerificationError as error:
        # What follows is about the certificate at hand, which may be any of the chain's, at length.
        reason = str(error).partition(" (encountered")[0]
        raise InvalidDocument(f"it has no path to an authority of its trust domain: {reason}") from None
    # A leaf that somebody put among the authorities would be its own witness.
    if len(verified.chain) == 1:
        raise InvalidDocument("it is itself among the authorities")
    return verified.chain


def _milliseconds(moment: datetime.datetime) -> int:
    return int(moment.timestamp()) * 1000
