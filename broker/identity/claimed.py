"""What an assertion says of itself before anybody has checked it: enough to choose who checks it, and never more."""

import msgspec

from broker.errors import InvalidClient
from scopes import jose, strict_json
from scopes.errors import InvalidDocument

_TYPES: frozenset[str | None] = frozenset({"jwt", "jose", "client-authentication+jwt", None})


class UnverifiedNames(msgspec.Struct, frozen=True, omit_defaults=True):
    """Issuer and subject that an assertion claims. Whichever room it leads to checks them again, with the signature."""

    sub: str
    iss: str | None = None

    @property
    def is_spiffe(self) -> bool:
        """Tell whether this claims to be an SVID."""
        return self.sub.startswith("spiffe://")


def unverified_names(unverified_assertion: str) -> UnverifiedNames:
    """Read who an assertion claims to be from; raise `InvalidClient` for what is no assertion at all."""
    try:
        jws = jose.read(unverified_assertion, types=_TYPES)
        return strict_json.decode(jws.unverified_payload, type=UnverifiedNames, max_bytes=jose.MAX_TOKEN_BYTES)
    except InvalidDocument as error:
        raise InvalidClient(f"the assertion is not accepted: {error}") from None
