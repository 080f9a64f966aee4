"""Tokens of people as an identity provider writes them, and a provider whose key the tests hold."""

from pathlib import Path
from typing import Any

from broker.identity import JwksFile, TrustedUsers, Users
from broker.identity.jwks import KeySource
from scopes.keys import SigningKey
from tests.broker.clocks import StillClock
from tests.broker.identity.platform_tokens import jwks_file
from tests.broker.registry.catalogue import key_of
from tests.scopes.tokens import compact

IDP = "https://login.corp.test"
PORTAL = "support-portal"
"""The client at which people signed in, and to which their tokens are issued."""

AUDIENCE = "https://broker.corp.test"
KEY = key_of("identity provider")


def user_claims(now: int, /, **changes: Any) -> dict[str, Any]:
    """Return the claims of a good token of Jane, of `now` (seconds), changed; `None` takes one out."""
    good = {
        "iss": IDP,
        "sub": "jane",
        "aud": AUDIENCE,
        "azp": PORTAL,
        "iat": now,
        "exp": now + 600,
        "auth_time": now - 60,
        "name": "Jane Doe",
        "email": "jane@example.com",
        "groups": ["support", "berlin"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def user_token(now: int, /, *, key: SigningKey = KEY, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Sign them; `None` takes a member of the header out."""
    head = {"alg": key.alg, "typ": "JWT", "kid": key.kid, **(header or {})}
    return compact({name: value for name, value in head.items() if value is not None}, user_claims(now, **changes), key)


class People:
    """One identity provider, whose key is in a file, at a moment that stands still."""

    def __init__(self, folder: Path, *, keys: KeySource | None = None, groups: str = "groups") -> None:
        self.clock = StillClock()
        self.file = jwks_file(folder, "corp", KEY)
        trust = TrustedUsers("corp", IDP, AUDIENCE, keys or JwksFile(self.file), groups)
        self.users = Users([trust], clock=self.clock)

    def token(self, **changes: Any) -> str:
        return user_token(self.clock.seconds, **changes)
