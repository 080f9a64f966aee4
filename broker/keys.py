"""The broker's own keys, in a folder: token keys sign tokens, feed keys sign the feed, and neither the other's."""

from pathlib import Path

import msgspec

from broker import private_key_file
from broker.errors import ConfigurationError
from scopes.keys import SigningKey

TOKEN_KEY = "token.jwk"  # noqa: S105 - a file name
FEED_KEY = "feed.jwk"


class Keys:
    """The keys of one broker. All replicas of an issuer share the same folder, or copies of it."""

    def __init__(self, *, token: SigningKey, feed: SigningKey) -> None:
        self.token = token
        self.feed = feed

    @classmethod
    def load(cls, folder: Path) -> "Keys":
        """Read the folder; raise `ConfigurationError` if a key is missing, unusable, or used for both."""
        token, feed = private_key_file.read(folder / TOKEN_KEY), private_key_file.read(folder / FEED_KEY)
        if token.kid == feed.kid:
            raise ConfigurationError([f"{folder}: the feed has the token key; a stolen token key could then blind verifiers"])
        return cls(token=token, feed=feed)

    @property
    def token_jwks(self) -> bytes:
        """The public token keys as a JWKS (RFC 7517 §5)."""
        return msgspec.json.encode({"keys": [self.token.public_jwk]})

    @property
    def feed_jwks(self) -> bytes:
        """The public feed keys as a JWKS."""
        return msgspec.json.encode({"keys": [self.feed.public_jwk]})


def create(folder: Path) -> None:
    """Make the folder and every key that is not in it yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (TOKEN_KEY, FEED_KEY):
        private_key_file.create(folder / name)
