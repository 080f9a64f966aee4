"""What every token of an OpenID issuer has to have, whether of a workload or of a person (OpenID Connect Core §2)."""

import msgspec

from scopes.errors import InvalidDocument

MAX_SKEW = 30
"""The seconds by which a token may be from the future (`DESIGN.md` 5); there is none on its expiry."""

MAX_LIFETIME = 86_400
"""The seconds a token may live: an issuer that gives longer ones has not been told to give short ones."""


class OpenIdClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every token has to have; what else there is, is read after the signature was checked."""

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: int
    iat: int
    nbf: int | None = None

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom it is, however that is written."""
        return (self.aud,) if isinstance(self.aud, str) else self.aud

    def check(self, audience: str, *, now: int) -> None:
        """Raise `InvalidDocument` unless it is for this audience alone, and good at `now` (milliseconds)."""
        if self.audiences != (audience,):
            raise InvalidDocument(f"its audience has to be {audience} and nothing else")
        if not 0 <= self.exp < 2**40 or now >= self.exp * 1000:
            raise InvalidDocument("it has expired")
        if not 0 <= self.exp - self.iat <= MAX_LIFETIME:
            raise InvalidDocument(f"it may live {MAX_LIFETIME} seconds at most; ask its issuer for a shorter one")
        if max(self.iat, self.nbf or 0) * 1000 > now + MAX_SKEW * 1000:
            raise InvalidDocument("it is from the future")
        if not self.sub.isprintable():
            raise InvalidDocument("its subject is no text")
