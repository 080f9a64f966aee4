"""SPIFFE bundles: what the SVIDs of one trust domain are verified with (SPIFFE Trust Domain and Bundle §4)."""

import base64
import binascii
from typing import Annotated, Any, NamedTuple

import jwt
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scopes import strict_json
from scopes.errors import InvalidDocument
from scopes.keys import MAX_JWKS_BYTES, SVID_ALGORITHMS, Jwk, KeySet

MAX_BUNDLE_BYTES = MAX_JWKS_BYTES

BROKEN = (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm)
"""What the library raises for bytes that are not a certificate, or one that nobody could mean."""

_JWT_USE, _X509_USE = "jwt-svid", "x509-svid"

# Keys of other types are to be ignored (§4.2.1), so they are left out and do not spoil the rest.
_KEY_TYPES = frozenset({"EC", "RSA"})


class _Document(msgspec.Struct, frozen=True, omit_defaults=True):
    keys: list[dict[str, Any]]
    spiffe_sequence: Annotated[int, msgspec.Meta(ge=0)] | None = None
    spiffe_refresh_hint: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Bundle(NamedTuple):
    """The authorities of one trust domain at one moment; an empty one verifies nothing. `refresh_hint` is in seconds."""

    jwt_authorities: KeySet = KeySet()
    x509_authorities: tuple[x509.Certificate, ...] = ()
    sequence: int | None = None
    refresh_hint: int | None = None

    @classmethod
    def parse(cls, document: bytes) -> "Bundle":
        """Read a bundle; raise `InvalidDocument` if it is not one, or holds a private key.

        Keys of another `use`, or of none, are left out (§4.2.2), so that the bundle may be empty.
        """
        found = strict_json.decode(document, type=_Document, max_bytes=MAX_BUNDLE_BYTES)
        return cls(
            KeySet.parse(document, algorithms=SVID_ALGORITHMS, use=_JWT_USE),
            tuple(_authority(jwk) for jwk in found.keys if jwk.get("use") == _X509_USE and jwk.get("kty") in _KEY_TYPES),
            found.spiffe_sequence,
            found.spiffe_refresh_hint,
        )

    @property
    def has_authorities(self) -> bool:
        """Tell whether anything at all could be verified with it."""
        return bool(len(self.jwt_authorities) or self.x509_authorities)

    def follow(self, known: "Bundle") -> None:
        """Raise `InvalidDocument` if this bundle is older than the one that is known, or does not say its number any more."""
        if (self.sequence or 0) < (known.sequence or 0):
            raise InvalidDocument(f"its spiffe_sequence went back from {known.sequence} to {self.sequence}")


UNKNOWN = Bundle()
"""Stands for a bundle that nobody could read yet, or not for too long. A domain that says it has no authorities is another."""


def _authority(jwk: Jwk) -> x509.Certificate:
    """Read the one certificate of an X.509 authority (SPIFFE X509-SVID §6.1), which has to be for the key beside it."""
    chain = jwk.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise InvalidDocument("an x509-svid key has exactly one certificate in x5c")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        same = _public_bytes(jwt.PyJWK(dict(jwk)).key) == _public_bytes(certificate.public_key())
    except x509.ExtensionNotFound:
        raise InvalidDocument("an x509-svid key has a certificate that is no authority's") from None
    except (binascii.Error, jwt.PyJWTError, *BROKEN):
        raise InvalidDocument("an x509-svid key has no usable certificate") from None
    if not constraints.ca:
        raise InvalidDocument("an x509-svid key has a certificate that is no authority's")
    if not same:
        raise InvalidDocument("an x509-svid key is not its certificate's (RFC 7517 §4.7)")
    return certificate


def _public_bytes(key: Any) -> bytes:
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
