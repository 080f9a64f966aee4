"""Compact JWS (RFC 7515 §7.1): strict reading of what is not trusted yet, and writing.

The only place that touches unverified bytes. What libraries accept by custom and nobody needs is refused here: other
serialisations, padding, bits that encode nothing, a member twice, `crit`, and an `alg` other than the key's own. Headers
that carry or point to a key (`jwk`, `jku`, `x5u`, `x5c`) are never looked at, but for the `jwk` of what is to be self-signed.
"""

import base64
import binascii
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from scopes import strict_json
from scopes.errors import InvalidDocument
from scopes.keys import KeySet, Signer, VerificationKey, bare

MAX_TOKEN_BYTES = 8 * 1024
MAX_HEADER_BYTES = 2 * 1024

# base64url to base64; what is base64 only becomes what is in no alphabet, so that strict decoding refuses it.
_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
_SEGMENTS = 3


class UnverifiedHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is needed to start verifying; nothing of it is trusted."""

    alg: str
    kid: str
    typ: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class UnverifiedJws(msgspec.Struct, frozen=True):
    """A well-formed compact JWS whose signature nobody has looked at."""

    unverified_header: UnverifiedHeader
    unverified_payload: bytes
    signing_input: bytes
    signature: bytes

    def verified_payload(self, keys: KeySet) -> bytes:
        """Return the payload if a key of the set signed it under that key's own algorithm; raise `InvalidDocument`."""
        key = keys.get(self.unverified_header.kid)
        if key is None:
            raise InvalidDocument("signed with a key that is not known")
        if self.unverified_header.alg != key.alg:
            raise InvalidDocument("signed under another algorithm than the key's")
        if not key.verify(self.signature, self.signing_input):
            raise InvalidDocument("the signature is wrong")
        return self.unverified_payload


class SelfSigned(NamedTuple):
    """What the holder of a key said with it; `thumbprint` is the key's (RFC 7638). Whose key that is, nothing here tells."""

    payload: bytes
    thumbprint: str


class _UnverifiedKeyHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    alg: str
    jwk: dict[str, Any]
    typ: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Parts(NamedTuple):
    header: bytes
    payload: bytes
    signing_input: bytes
    signature: bytes


def read(unverified_text: str | bytes, *, types: frozenset[str | None], max_bytes: int = MAX_TOKEN_BYTES) -> UnverifiedJws:
    """Take a compact JWS apart without trusting it; raise `InvalidDocument` unless it is one, of one of the types.

    `types` are the accepted `typ` values in lower case (RFC 8725 §3.11); `None` stands for an absent one.
    """
    parts = _parts(unverified_text, max_bytes)
    header = _header(parts.header)
    _check_type(header.typ, types)
    return UnverifiedJws(header, parts.payload, parts.signing_input, parts.signature)


def read_self_signed(unverified_text: str | bytes, *, type: str, algorithms: frozenset[str], max_bytes: int) -> SelfSigned:
    """Check a compact JWS by the public key in its own header; raise `InvalidDocument` unless that key signed it.

    It proves that its sender holds that key, and nothing else.
    """
    parts = _parts(unverified_text, max_bytes)
    key = _own_key(parts.header, type, algorithms)
    if not key.verify(parts.signature, parts.signing_input):
        raise InvalidDocument("the signature is wrong")
    return SelfSigned(parts.payload, key.kid)


def write(payload: bytes, *, type: str, key: Signer) -> str:
    """Sign the payload and return the compact JWS."""
    return _signed(_header_segment(key.alg, type, key.kid), payload, key)


def write_self_signed(payload: bytes, *, type: str, key: Signer) -> str:
    """Sign the payload and return the compact JWS, with the public key in its header."""
    header = {"typ": type, "alg": key.alg, "jwk": bare(key.public_jwk)}
    return _signed(_encoded(msgspec.json.encode(header)), payload, key)


def _signed(header: bytes, payload: bytes, key: Signer) -> str:
    signing_input = header + b"." + _encoded(payload)
    return (signing_input + b"." + _encoded(key.sign(signing_input))).decode()


def _parts(unverified_text: str | bytes, max_bytes: int) -> _Parts:
    if len(unverified_text) > max_bytes:
        raise InvalidDocument(f"larger than {max_bytes} bytes")
    header, payload, signature = _segments(unverified_text)
    return _Parts(header, _decoded(payload), header + b"." + payload, _decoded(signature))


def _check_type(type: str | None, types: frozenset[str | None]) -> None:
    if (type.lower() if type is not None else None) not in types:
        raise InvalidDocument("of another type than expected here")


def _segments(unverified_text: str | bytes) -> list[bytes]:
    try:
        text = unverified_text.encode("ascii") if isinstance(unverified_text, str) else unverified_text
    except UnicodeEncodeError:
        raise InvalidDocument("not a compact JWS") from None
    segments = text.split(b".")
    if len(segments) != _SEGMENTS or not all(segments):
        raise InvalidDocument("not a compact JWS")
    return segments


@lru_cache(maxsize=64)
def _header(segment: bytes) -> UnverifiedHeader:
    # Cached because an issuer writes the same header on every token; bounded because anybody can send another.
    header = strict_json.decode(_decoded(segment), type=UnverifiedHeader, max_bytes=MAX_HEADER_BYTES)
    _check_not_critical(header.crit)
    return header


@lru_cache(maxsize=1024)
def _own_key(segment: bytes, type: str, algorithms: frozenset[str]) -> VerificationKey:
    # Cached because a holder writes the same header on every proof, and to load a key costs half of a signature check.
    header = strict_json.decode(_decoded(segment), type=_UnverifiedKeyHeader, max_bytes=MAX_HEADER_BYTES)
    _check_not_critical(header.crit)
    _check_type(header.typ, frozenset({type}))
    return VerificationKey.embedded(header.jwk, header.alg, algorithms=algorithms)


def _check_not_critical(crit: object) -> None:
    if crit is not msgspec.UNSET:
        raise InvalidDocument("has a critical header that is not known (RFC 7515 §4.1.11)")


@lru_cache(maxsize=64)
def _header_segment(algorithm: str, type: str, kid: str) -> bytes:
    return _encoded(msgspec.json.encode({"alg": algorithm, "typ": type, "kid": kid}))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(segment: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(segment.translate(_TO_BASE64) + b"=" * (-len(segment) % 4), strict_mode=True)
    except ValueError:
        raise InvalidDocument("not base64url") from None
    # Bits after the last whole byte must be zero (RFC 4648 §3.5); only the last character can carry them.
    if len(segment) % 4 and _encoded(data[-(len(data) % 3) :]) != segment[-(len(segment) % 4) :]:
        raise InvalidDocument("not canonical base64url")
    return data
