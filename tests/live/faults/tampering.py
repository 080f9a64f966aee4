"""What somebody between broker and verifier can do to a feed that they cannot sign: replay, reorder, repeat, withhold, cut."""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

Frames = Iterator[bytes]
"""Frames of server-sent events: first the snapshot, then messages."""

Tampering = Callable[[Frames], Frames]

_PAUSE = 0.2
_AGAIN_EVERY = 3
_TAIL = 40


def duplicated(frames: Frames) -> Frames:
    """Send every frame twice."""
    for frame in frames:
        yield frame
        yield frame


def reordered(frames: Frames) -> Frames:
    """Send the snapshot, and of the messages always the second before the first."""
    yield from islice(frames, 1)
    for first in frames:
        yield from islice(frames, 1)
        yield first


def dropped(frames: Frames) -> Frames:
    """Send the snapshot, and lose every third message."""
    for number, frame in enumerate(frames):
        if number % _AGAIN_EVERY != 1:
            yield frame


def truncated(frames: Frames) -> Frames:
    """Break off in the middle of a frame: at the snapshot, or at the second message."""
    for frame in islice(frames, 2):
        yield frame
    for frame in islice(frames, 1):
        yield frame[: len(frame) - _TAIL]


def heartbeat_as_snapshot(frames: Frames) -> Frames:
    """Serve the first message as if it were the snapshot (TRAPS 21a)."""
    next(frames, None)
    first = next(frames, b"")
    yield first.replace(b"event: message", b"event: snapshot", 1)
    yield from frames


def replayed(old: Sequence[bytes]) -> Tampering:
    """Serve an old snapshot, and old messages among those that are true."""

    def tampering(frames: Frames) -> Frames:
        yield old[0]
        for frame in frames:
            yield from old
            yield frame

    return tampering


def frozen(old: Sequence[bytes], over: threading.Event) -> Tampering:
    """Serve an old snapshot and old heartbeats again and again, and nothing that is new."""

    def tampering(_: Frames) -> Frames:
        while not over.wait(_PAUSE):
            yield from old

    return tampering


PLAIN: tuple[Tampering, ...] = (duplicated, reordered, dropped, truncated, heartbeat_as_snapshot)
"""Those that need nothing that was recorded before."""
