"""The feed as a reader receives it: each frame verified, none of it interpreted."""

from collections.abc import Iterator, Mapping

import msgspec

from broker.client.connection import SyncConnection
from broker.client.errors import UnexpectedAnswer
from scopes import revocations
from scopes.errors import InvalidDocument
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Message, Snapshot

News = Snapshot | Message
"""The snapshot that a stream begins with, or a message; one without events is a heartbeat."""


def follow(connection: SyncConnection, named: Mapping[str, str], assertion: str | None) -> Iterator[News]:
    """Yield what one stream says until it ends; raise `UnexpectedAnswer` for what the feed's keys did not sign.

    `named` are the issuer and the audience that every frame has to name.
    """
    jwks = connection.ask(lambda: connection.request("GET", "/v1/feed/keys"), msgspec.Raw)
    try:
        keys = KeySet.parse(bytes(jwks), algorithms=TOKEN_ALGORITHMS)
        for event in connection.events("/v1/feed/stream", {"aud": named["audience"]}, assertion=assertion):
            if event.event == "snapshot":
                yield revocations.read_snapshot(event.data, keys=keys, **named)
            elif event.event == "message":
                yield revocations.read_message(event.data, keys=keys, **named)
    except InvalidDocument as error:
        raise UnexpectedAnswer(f"the feed of {connection.address.url} is not to be believed: {error}") from None
