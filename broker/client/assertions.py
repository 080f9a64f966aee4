"""What proves who asks: assertions that are signed here, one for each request, and of which type others are."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from broker.client.errors import Misconfigured
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import SigningKey

Identity = Callable[[], str]
"""Returns the workload's own assertion (a JWT-SVID, a platform's token); called for each request, so it may rotate."""

LIFETIME = 60
"""The seconds an assertion lives that is signed here; the broker takes none that lives longer."""

JWT_SPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_MAX_KEY_BYTES = 16 * 1024


class _Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    sub: str = ""


def signed(name: str, key: SigningKey, *, issuer: str, clock: Clock) -> str:
    """Sign an assertion for one request (RFC 7523 §3)."""
    now = clock.now().wall // 1000
    identity = {"iss": name, "sub": name, "aud": issuer}
    claims = {**identity, "iat": now, "exp": now + LIFETIME, "jti": secrets.token_urlsafe(16)}
    return jose.write(msgspec.json.encode(claims), type="JWT", key=key)


def private_key(path: Path) -> SigningKey:
    """Read a private JWK from a file; raise `Misconfigured` where there is none, or where others can read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise Misconfigured(f"{path}: others can read this private key; run chmod 600 on it")
        return SigningKey(strict_json.decode(path.read_bytes(), type=dict[str, Any], max_bytes=_MAX_KEY_BYTES))
    except (OSError, InvalidDocument):
        raise Misconfigured(f"{path}: not there or not a private key; `broker agent key` makes one") from None


def type_of(assertion: str) -> str:
    """Return what the token endpoint calls an assertion of this kind: an SVID names a SPIFFE id as its subject."""
    try:
        payload = jose.read(assertion, types=frozenset({"jwt", "jose", None})).unverified_payload
        subject = strict_json.decode(payload, type=_Subject, max_bytes=jose.MAX_TOKEN_BYTES).sub
    except InvalidDocument:
        # The broker says what is wrong with it.
        return JWT_SPIFFE
    return JWT_SPIFFE if subject.startswith("spiffe://") else JWT_BEARER
