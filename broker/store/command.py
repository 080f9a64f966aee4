"""Commands as they go over the wire."""

from collections.abc import Sequence

import hiredis

Argument = str | bytes | int
"""What a command takes."""

READS = frozenset(["GET", "HGET", "HLEN", "HMGET", "HVALS", "INFO", "PING", "SCRIPT", "TIME"]) | frozenset(
    ["XRANGE", "XREAD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZRANK"]
)
"""Commands that change nothing, so that no replica has to confirm them. Whatever is not here is taken to write."""

FEED = "ab:{feed}:"
"""The slot that is asked what belongs to no other."""


def pack(*command: Argument) -> bytes:
    """Spell a command; raise what says that it cannot be."""
    # The parser's stubs know a tuple of one argument only.
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


def key_of(command: Sequence[Argument]) -> str:
    """Return the first key of a command, or that of the feed for one that has none."""
    for part in command:
        if isinstance(part, str) and part.startswith("ab:{"):
            return part
    return FEED
