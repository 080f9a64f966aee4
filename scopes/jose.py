"""Compact JWS (RFC 7515 §7.1): strict reading of what is not trusted yet, and writing.

The only place that touches unverified bytes. What libraries accept by custom and nobody needs is refused here: other
serialisations, padding, bits that encode nothing, a member twice, `crit`, and an `alg` other than the key's own. Headers
that carry or point to a key (`jwk`, `jku`, `x5u`, `x5c`) are never looked at.
"""

import base64
import binascii
from functools import lru_cache

import msgspec

from scopes import strict_json
from scopes.errors import InvalidDocument
from scopes.keys import KeySet, SigningKey

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


def read(unverified_text: str | bytes, *, types: frozenset[str | None], max_bytes: int = MAX_TOKEN_BYTES) -> UnverifiedJws:
    """Take a compact JWS apart without trusting it; raise `InvalidDocument` unless it is one, of one of the types.

    `types` are the accepted `typ` values in lower case (RFC 8725 §3.11); `None` stands for an absent one.
    """
    if len(unverified_text) > max_bytes:
        raise InvalidDocument(f"larger than {max_bytes} bytes")
    segments = _segments(unverified_text)
    header = _header(segments[0])
    if (header.typ.lower() if header.typ is not None else None) not in types:
        raise InvalidDocument("of another type than expected here")
    signing_input = segments[0] + b"." + segments[1]
    return UnverifiedJws(header, _decoded(segments[1]), signing_input, _decoded(segments[2]))


def write(payload: bytes, *, type: str, key: SigningKey) -> str:
    """Sign the payload and return the compact JWS."""
    signing_input = _header_segment(key.alg, type, key.kid) + b"." + _encoded(payload)
    return (signing_input + b"." + _encoded(key.sign(signing_input))).decode()


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
    if header.crit is not msgspec.UNSET:
        raise InvalidDocument("has a critical header that is not known (RFC 7515 §4.1.11)")
    return header


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
