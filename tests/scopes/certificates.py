"""Certificates made by hand, so that hostile ones can be made too: authorities, intermediates and leaves of SPIFFE domains."""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START = datetime.datetime(2027, 1, 1, 11, 0, tzinfo=datetime.UTC)
"""When certificates begin to be good, unless told otherwise: an hour before the still clock's time."""

DIGITAL_SIGNATURE = frozenset({"digital_signature"})
CERTIFICATE_SIGNING = frozenset({"key_cert_sign", "crl_sign"})
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

URI = x509.UniformResourceIdentifier


class Made(NamedTuple):
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def ec_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key(bits: int = 2048) -> Any:
    return rsa.generate_private_key(65537, bits)


def authority(name: str = "prod", issuer: Made | None = None, **changes: Any) -> Made:
    """Make a certificate authority: its own issuer, or an intermediate of the issuer."""
    given: dict[str, Any] = {"names": [URI(f"spiffe://{name}")], "ca": True, "usages": CERTIFICATE_SIGNING, "common_name": name}
    return made(issuer, **{**given, "extended": None, **changes})


def leaf(issuer: Made | None, id: str, **changes: Any) -> Made:
    """Make an X.509-SVID as SPIRE does, changed."""
    return made(issuer, **{"names": [URI(id)], **changes})


def made(
    issuer: Made | None,
    *,
    names: Sequence[x509.GeneralName],
    ca: bool | None = False,
    usages: frozenset[str] | None = DIGITAL_SIGNATURE,
    extended: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    path_length: int | None = None,
    start: datetime.datetime = START,
    lifetime: datetime.timedelta = datetime.timedelta(hours=2),
    key: Any = None,
    common_name: str = "",
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Made:
    """Make a certificate; `None` for a usage or an extension leaves it out."""
    key = key or ec_key()
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"SPIFFE {common_name}")])
    signer, issued_by = (issuer.key, issuer.certificate.subject) if issuer is not None else (key, subject)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issued_by).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(start + lifetime)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    if ca is not None:
        extensions.append((x509.BasicConstraints(ca=ca, path_length=path_length), True))
    if usages is not None:
        extensions.append((x509.KeyUsage(**{name: name in usages for name in _USAGES}), True))
    if extended is not None:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    for extension, critical in (*extensions, *more):
        builder = builder.add_extension(extension, critical=critical)
    return Made(builder.sign(signer, hashes.SHA256()), key)


def escaped(*certificates: Made) -> str:
    """Write certificates as a proxy does: PEM with percent-encoding."""
    return quote(b"".join(certificate.pem for certificate in certificates).decode(), safe="")
