"""Follows the issuer's feed in the background and holds the picture of it (`WIRE.md`, "The feed")."""

import contextlib
import logging
import os
import random
import socket
from collections.abc import Callable

import httpx2

from scopes import revocations
from scopes.background import Background
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.issuer_keys import read_bounded, told
from scopes.keys import MAX_JWKS_BYTES, TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Picture

_LOG = logging.getLogger(__name__)
_FIRST_DELAY = 0.1
# Shorter than the shortest staleness bound, so that a broker that is back is heard before anything turns stale for nothing.
_LONGEST_DELAY = 2.0
_MOST_DOUBLINGS = 6


class Feed:
    """Keeps one picture for one audience. `picture` is replaced, never changed, and only by the background thread."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        client: Callable[[], httpx2.Client],
        clock: Clock,
        on_events: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to follow; `on_events` is called each time the picture has taken in more than a heartbeat."""
        self._issuer = issuer
        self._audience = audience
        self._client = client
        self._clock = clock
        self._on_events = on_events
        self._connection: tuple[int, socket.socket] | None = None
        self._failures = 0
        self._background = Background("revocation-feed", self.follow)
        self.picture = Picture()

    def start(self) -> None:
        """Begin to follow in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread, also where it waits for the network."""
        self._background.stop()
        self._hang_up()
        self._background.join()

    def forget(self) -> None:
        """Know nothing any more, so that everything is refused."""
        self.picture = Picture()

    def follow(self) -> float:
        """Follow one stream until it breaks or leaves a gap; return the seconds to wait before the next.

        Every stream starts with a snapshot, so to connect again is all there is to mending.
        """
        try:
            with self._client() as client:
                keys = self._feed_keys(client)
                self._read_stream(client, keys)
        except (httpx2.HTTPError, InvalidDocument) as error:
            if not self._background.is_stopping:
                _LOG.warning("the feed of %s broke off: %s", self._issuer, told(error))
        finally:
            self._connection = None
        return self._delay()

    def _feed_keys(self, client: httpx2.Client) -> KeySet:
        with client.stream("GET", f"{self._issuer}/v1/feed/keys") as response:
            response.raise_for_status()
            return KeySet.parse(read_bounded(response, MAX_JWKS_BYTES), algorithms=TOKEN_ALGORITHMS)

    def _read_stream(self, client: httpx2.Client, keys: KeySet) -> None:
        url = f"{self._issuer}/v1/feed/stream"
        limit = revocations.MAX_SNAPSHOT_BYTES
        with client.sse(url, params={"aud": self._audience}, max_event_size=limit) as stream:
            stream.response.raise_for_status()
            self._connection = os.getpid(), stream.response.extensions["network_stream"].get_extra_info("socket")
            # Asked here as well, for a `close` that came a moment earlier found no connection to end.
            if self._background.is_stopping:
                return
            for event in stream:
                if event.event == "leaving":
                    self._leave()
                    return
                self._take(event.event, event.data, keys)
                if self.picture.needs_snapshot or self._background.is_stopping:
                    return

    def _take(self, event: str, unverified_text: str, keys: KeySet) -> None:
        named = {"issuer": self._issuer, "audience": self._audience}
        if event == "snapshot":
            snapshot = revocations.read_snapshot(unverified_text, keys=keys, **named)
            self.picture = self.picture.adopt(snapshot, self._clock.now())
            self._on_events()
        elif event == "message":
            message = revocations.read_message(unverified_text, keys=keys, **named)
            self.picture = self.picture.apply(message, self._clock.now())
            if message.events:
                self._on_events()
            # Not at the snapshot: an issuer whose streams break after it, or whose snapshot our clock cannot believe,
            # would be asked again without a pause.
            if not self.picture.needs_snapshot:
                self._failures = 0

    def _leave(self) -> None:
        _LOG.debug("a replica of %s leaves; connecting again", self._issuer)
        # No failure: whatever went wrong before, the next replica is asked at once, or after the shortest pause where this
        # one was still found after it had said that it leaves.
        self._failures = min(self._failures, 1)

    def _delay(self) -> float:
        # The first attempt comes at once, for a broker that restarts or leaves is the usual case; later ones spread out.
        longest = min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY) if self._failures else 0.0
        self._failures = min(self._failures + 1, _MOST_DOUBLINGS)
        return random.uniform(longest / 2, longest)  # noqa: S311 - not a secret

    def _hang_up(self) -> None:
        owner, open_socket = self._connection or (0, None)
        # A forked child that closes holds its parent's connection until it has its own, and must leave it alone.
        if open_socket is not None and owner == os.getpid():
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
