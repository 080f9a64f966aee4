"""The feed as verifiers receive it: per audience a snapshot, then messages, each signed once for all who listen.

Two threads meet here. The follower publishes, a request joins; one lock makes a picture and the streams that show it move
together, so that a snapshot always ends where the next message begins.
"""

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from broker.feed.event import NewEvent
from scopes import jose
from scopes.keys import Signer
from scopes.revocations import MESSAGE_TYPE, SNAPSHOT_TYPE, Message, Picture, Place, Snapshot

HEARTBEAT = 800
"""The milliseconds after which the next beat is sent on even if nothing happened; with the beat, less than a second."""

# What has ended is swept out when as much again has come, so that sweeping costs each event a constant share.
_SMALLEST_SWEEP = 1024
LEAVING = b"event: leaving\ndata: {}\n\n"
"""The last frame of a stream whose worker stops: another replica is there, and nothing is wrong."""

Deliver = Callable[[bytes], None]
"""Takes one frame of server-sent events; called from the follower's thread, must not block."""


class LiveEvent(NamedTuple):
    """An event with its number and its audiences."""

    seq: int
    event: NewEvent


class _Channel:
    """What one audience has been told: where its stream stands, who listens, and the snapshot for each newcomer."""

    def __init__(self, picture: Picture) -> None:
        self.place = Place(seq=picture.seq, id=picture.id)
        self.as_of = picture.as_of
        self.listeners: set[Deliver] = set()
        self.snapshot: _Snapshot | None = None


class _Snapshot:
    """Everything alive at one moment for one audience: signed for the first who asks, while nobody else has to wait."""

    def __init__(self, picture: Picture, live: list[LiveEvent]) -> None:
        self._lock = threading.Lock()
        self._live = live
        self._text = ""
        self.picture = picture

    def text(self, issuer: str, audience: str, key: Signer) -> str:
        """Return it signed."""
        with self._lock:
            if not self._text:
                self._text = self._signed(issuer, audience, key)
                self._live = []
            return self._text

    def _signed(self, issuer: str, audience: str, key: Signer) -> str:
        picture = self.picture
        snapshot = Snapshot(
            iss=issuer,
            aud=audience,
            epoch=picture.epoch,
            seq=picture.seq,
            id=picture.id,
            as_of=picture.as_of,
            events=tuple(
                event.numbered(seq) for seq, event in self._live if event.until >= picture.as_of and event.concerns(audience)
            ),
        )
        return jose.write(msgspec.json.encode(snapshot), type=SNAPSHOT_TYPE, key=key)


class Streams:
    """Every stream of one worker. `key` returns what signs now; when that changes, every stream ends and is begun anew.

    Verifiers fetch the keys of the feed before each stream, so none meets a key that it could not know.
    """

    def __init__(self, *, issuer: str, key: Callable[[], Signer]) -> None:
        self._issuer = issuer
        self._key_now = key
        self._signer: Signer | None = None
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        # In the order of the log.
        self._live: list[LiveEvent] = []
        self._sweep_at = _SMALLEST_SWEEP
        self._closed = False
        self.picture = Picture()

    def publish(self, picture: Picture, events: Iterable[LiveEvent]) -> None:
        """Make `picture` the worker's own and tell every audience what concerns it, and every second that nothing did."""
        news = list(events)
        with self._lock:
            self.picture = picture
            self._keep(news)
            if self._channels:
                self._tell_news(picture, news)

    def restart(self, picture: Picture, events: Iterable[LiveEvent]) -> None:
        """Show another history: every stream ends, and whoever comes back begins with its snapshot."""
        with self._lock:
            self.picture = picture
            self._live = sorted(events, key=lambda live: live.seq)
            self._end_all(b"")

    def close(self) -> None:
        """End every stream for good, for this worker stops; each is told so, and its reader finds another."""
        with self._lock:
            self._closed = True
            self._end_all(LEAVING, b"")

    def join(self, audience: str, deliver: Deliver) -> bytes:
        """Begin a stream: return its first frame, the snapshot; `deliver` gets what follows, and an empty frame at its end."""
        with self._lock:
            key = self._key()
            channel = self._channels.setdefault(audience, _Channel(self.picture))
            if channel.place.seq != self.picture.seq:
                self._send(audience, channel, [], key)
            snapshot = self._snapshot_of(channel)
            channel.listeners.add(deliver)
            if self._closed:
                _tell(deliver, LEAVING, b"")
        # Signed with the lock let go: what is delivered meanwhile is read after this, and nobody's beat waits for a newcomer.
        return _frame("snapshot", snapshot.text(self._issuer, audience, key))

    def leave(self, audience: str, deliver: Deliver) -> None:
        """End a stream."""
        with self._lock:
            channel = self._channels.get(audience)
            if channel is not None:
                channel.listeners.discard(deliver)
                if not channel.listeners:
                    del self._channels[audience]

    def snapshot(self, audience: str) -> str:
        """Return everything alive for an audience, signed."""
        with self._lock:
            key, snapshot = self._key(), _Snapshot(self.picture, list(self._live))
        return snapshot.text(self._issuer, audience, key)

    def _key(self) -> Signer:
        """Return what signs now; where it is another than before, every stream ends."""
        key = self._key_now()
        if self._signer is not None and key.kid != self._signer.kid:
            self._end_all(LEAVING, b"")
        self._signer = key
        return key

    def _end_all(self, *last: bytes) -> None:
        for channel in self._channels.values():
            for deliver in channel.listeners:
                _tell(deliver, *last)
        self._channels.clear()

    def _tell_news(self, picture: Picture, news: list[LiveEvent]) -> None:
        key = self._key()
        for audience, channel in self._channels.items():
            concerned = [live for live in news if live.event.concerns(audience)]
            if concerned or picture.as_of - channel.as_of >= HEARTBEAT:
                self._send(audience, channel, concerned, key)

    def _send(self, audience: str, channel: _Channel, concerned: list[LiveEvent], key: Signer) -> None:
        picture = self.picture
        message = Message(
            iss=self._issuer,
            aud=audience,
            epoch=picture.epoch,
            seq=picture.seq,
            id=picture.id,
            prev=channel.place,
            as_of=picture.as_of,
            events=tuple(live.event.numbered(live.seq) for live in concerned),
        )
        frame = _frame("message", jose.write(msgspec.json.encode(message), type=MESSAGE_TYPE, key=key))
        channel.place = Place(seq=picture.seq, id=picture.id)
        channel.as_of = picture.as_of
        for deliver in channel.listeners:
            deliver(frame)

    def _snapshot_of(self, channel: _Channel) -> _Snapshot:
        # Kept for those who come within the same second, so that a hundred verifiers that reconnect cost one signature.
        kept = channel.snapshot
        here = (self.picture.epoch, channel.place.seq)
        if (
            kept is None
            or (kept.picture.epoch, kept.picture.seq) != here
            or self.picture.as_of - kept.picture.as_of >= HEARTBEAT
        ):
            kept = channel.snapshot = _Snapshot(self.picture, list(self._live))
        return kept

    def _keep(self, news: list[LiveEvent]) -> None:
        self._live += news
        if len(self._live) >= self._sweep_at:
            self._live = [live for live in self._live if live.event.until >= self.picture.as_of]
            self._sweep_at = max(_SMALLEST_SWEEP, 2 * len(self._live))


def _tell(deliver: Deliver, *frames: bytes) -> None:
    for frame in frames:
        deliver(frame)


def _frame(event: str, data: str) -> bytes:
    return f"event: {event}\ndata: {data}\n\n".encode()
