"""A token of this broker, shown to it again: read as strictly as a verifier reads it."""

import re
from functools import lru_cache
from typing import NamedTuple

from broker.errors import Unavailable
from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE, Claims
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture, Revocable, revocable

_TYPES: frozenset[str | None] = frozenset({TOKEN_TYPE})
_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class OwnToken(NamedTuple):
    """What a token says, and all that can end it. The picture is asked first whether something has, the store second."""

    claims: Claims
    revocable: Revocable

    def is_over(self, picture: Picture) -> bool:
        """Tell whether something in the picture has ended it; raise `Unavailable` where its epoch is not heard of there yet."""
        if self.revocable.epoch > picture.epoch:
            raise Unavailable("this worker has not heard of the epoch of this token yet; ask again", retry_after=1)
        return self.revocable.epoch < picture.epoch or picture.ended_by(self.revocable) is not None


def read(unverified_token: str, *, issuer: str, jwks: bytes) -> OwnToken | None:
    """Return a token of this issuer, signed by one of the keys of the set; `None` for any other text."""
    try:
        jws = jose.read(unverified_token, types=_TYPES)
        claims, scope = token_claims.decode(jws.verified_payload(_key_set(jwks)))
    except InvalidDocument:
        return None
    if claims.iss != issuer:
        return None
    return OwnToken(claims, revocable(claims, scope, jws.unverified_header.kid))


def is_of_another_kind(unverified_text: str) -> bool:
    """Tell whether it is something signed that says of itself to be no access token, such as an SVID."""
    if not _SIGNED.fullmatch(unverified_text):
        return False
    try:
        jose.read(unverified_text, types=_TYPES)
    except InvalidDocument:
        return True
    return False


@lru_cache(maxsize=4)
def _key_set(jwks: bytes) -> KeySet:
    return KeySet.parse(jwks, algorithms=TOKEN_ALGORITHMS)
