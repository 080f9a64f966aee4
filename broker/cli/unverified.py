"""Looks into tokens without trusting them, and verifies their signature where a broker is named."""

from typing import Any

import msgspec

from broker.cli import times
from broker.client import Published, Refused
from scopes import claims, jose, strict_json
from scopes.claims import TOKEN_TYPE
from scopes.errors import InvalidDocument
from scopes.jose import MAX_TOKEN_BYTES, UnverifiedJws
from scopes.keys import TOKEN_ALGORITHMS, KeySet

# Access tokens, and the identities that are shown to get them.
_TYPES: frozenset[str | None] = frozenset({TOKEN_TYPE, f"application/{TOKEN_TYPE}", "jwt", "jose", None})


class Inspected(msgspec.Struct, frozen=True):
    """What a token says, and whether anybody checked who wrote it. `key` is the id of the key it names."""

    verified: bool
    expired: bool
    type: str | None
    algorithm: str
    key: str
    claims: dict[str, Any]


def read(unverified_token: str) -> Inspected:
    """Return what a token says; raise `Refused` for what is no token."""
    try:
        jws = jose.read(unverified_token, types=_TYPES)
        return _inspected(jws, jws.unverified_payload, verified=False)
    except InvalidDocument as error:
        raise Refused(f"this is not a token: {error}", code="invalid_token") from None


def verified(unverified_token: str, broker: str) -> Inspected:
    """Return what a broker's access token says; raise `Refused` unless that broker signed it."""
    with Published(broker) as published:
        issuer, jwks = published.issuer, published.token_keys()
    try:
        keys = KeySet.parse(msgspec.json.encode({"keys": jwks}), algorithms=TOKEN_ALGORITHMS)
        jws = jose.read(unverified_token, types=frozenset({TOKEN_TYPE}))
        payload = jws.verified_payload(keys)
        found, _ = claims.decode(payload)
    except InvalidDocument as error:
        raise Refused(f"this is not a token of {broker}: {error}", code="invalid_token") from None
    if found.iss != issuer:
        raise Refused(f"this is not a token of {broker}: it names another issuer", code="invalid_token")
    return _inspected(jws, payload, verified=True)


def _inspected(jws: UnverifiedJws, payload: bytes, *, verified: bool) -> Inspected:
    said = strict_json.decode(payload, type=dict[str, Any], max_bytes=MAX_TOKEN_BYTES)
    header, expires = jws.unverified_header, said.get("exp")
    expired = isinstance(expires, int) and expires <= times.now()
    return Inspected(verified, expired, header.typ, header.alg, header.kid, said)
