"""Where a thing is kept: what takes away in `{feed}`, what is counted or spent in the shard of its agent.

Everything of one shard is in one slot of a Redis Cluster, so one script can change it at once. A lease's or task's id ends
in the two digits of its shard.
"""

import hashlib
from functools import lru_cache

from scopes import ulid

SHARDS = 64
_DIGITS = 2
# Written once: every key of every command begins with one of them.
_PREFIXES = tuple(f"ab:{{s{shard:0{_DIGITS}}}}:" for shard in range(SHARDS))


@lru_cache(maxsize=10_000)
def shard_of(name: str) -> int:
    """Return the shard of an agent or operator by name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % SHARDS


def digits(shard: int) -> str:
    """Write a shard as ids and keys have it."""
    return f"{shard:0{_DIGITS}}"


def sharded_id(prefix: str, *, shard: int, now: int) -> str:
    """Make an id whose last two characters are its shard."""
    return f"{prefix}{ulid.new(now)[:-_DIGITS]}{digits(shard)}"


def repeatable_id(prefix: str, *, shard: int, seed: bytes) -> str:
    """Make an id of a shard from a seed: always the same one, and nobody else's."""
    return f"{prefix}{ulid.derived(seed)[:-_DIGITS]}{digits(shard)}"


def shard_of_id(id: str, prefix: str) -> int | None:
    """Return the shard an id carries, or `None` if it is no id of this kind."""
    digits = id[-_DIGITS:]
    if not ulid.is_id(id, prefix) or not digits.isdecimal() or int(digits) >= SHARDS:
        return None
    return int(digits)


def key(shard: int, *parts: str) -> str:
    """Name a key of a shard."""
    return _PREFIXES[shard] + ":".join(parts)


def feed_key(part: str) -> str:
    """Name a key of the feed's slot."""
    return f"ab:{{feed}}:{part}"
