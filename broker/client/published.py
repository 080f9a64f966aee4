"""What a broker tells everybody: who it is, and the keys that verify its tokens and its feed."""

from collections.abc import Iterator
from typing import Any

from broker.client.answers import KeySetAnswer, Metadata
from broker.client.connection import SyncConnection
from broker.client.errors import UnexpectedAnswer
from broker.client.feed import News, follow

Jwks = tuple[dict[str, Any], ...]

_METADATA = "/.well-known/oauth-authorization-server"


class Published:
    """Reads what needs no identity. Closes its connection when it is left."""

    def __init__(self, broker_url: str, **options: Any) -> None:
        """Speak to the broker at `broker_url`; the options are those of `SyncConnection`."""
        self.connection = SyncConnection(broker_url, **options)
        self._issuer = ""

    def __enter__(self) -> "Published":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def issuer(self) -> str:
        """The broker's name, asked for once; raises `UnexpectedAnswer` for one that is not at the address asked.

        Whoever signs an assertion for a name should know that it goes to its owner: a broker that claims another's name could
        use the assertion there (RFC 8414 §3.3). A tunnel that ends on this machine is the exception, for it never has the
        address it leads to.
        """
        if not self._issuer:
            metadata = self.connection.ask(lambda: self.connection.request("GET", _METADATA), Metadata)
            address = self.connection.address
            if metadata.issuer != address.url and not address.is_local:
                message = f"the broker at {address.url} says it is {metadata.issuer!a}; use that address"
                raise UnexpectedAnswer(message, code="wrong_issuer")
            self._issuer = metadata.issuer
        return self._issuer

    def token_keys(self) -> Jwks:
        """Return the keys that verify tokens."""
        return self._keys("/oauth/jwks.json")

    def feed_keys(self) -> Jwks:
        """Return the keys that verify the feed."""
        return self._keys("/v1/feed/keys")

    def feed(self, audience: str, *, assertion: str | None = None) -> Iterator[News]:
        """Follow the feed of one audience until its stream ends; without an assertion, of a broker that lets anyone."""
        return follow(self.connection, {"issuer": self.issuer, "audience": audience}, assertion)

    def _keys(self, path: str) -> Jwks:
        return self.connection.ask(lambda: self.connection.request("GET", path), KeySetAnswer).keys
