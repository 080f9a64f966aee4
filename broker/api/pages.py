"""Lists that are spread over shards, a page at a time, with a cursor that means nothing to anybody else."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from broker.errors import InvalidRequest, NotFound
from broker.store import shard_of
from broker.store.shards import SHARDS

T = TypeVar("T")
SIZE = 100
_CURSOR = re.compile(r"([0-9]{1,2})\.([0-9]{1,9})")

ReadShard = Callable[[int, tuple[int, int]], Awaitable[list[T]]]
"""Reads entries of a shard by rank, first and last inclusive."""


class Page(NamedTuple, Generic[T]):
    """Some entries, and where to go on; no cursor at the end."""

    items: list[T]
    cursor: str | None


async def read(cursor: str, name: str | None, read_shard: ReadShard[T], wanted: Callable[[T], bool]) -> Page[T]:
    """Read on from the cursor until a page is full; of one shard only where the name of an agent is given."""
    shard, rank = _parsed(cursor) if cursor else (shard_of(name) if name is not None else 0, 0)
    last_shard = shard_of(name) if name is not None else SHARDS - 1
    items: list[T] = []
    while shard <= last_shard:
        entries = await read_shard(shard, (rank, rank + SIZE - 1))
        items += [entry for entry in entries if wanted(entry)]
        shard, rank = (shard, rank + SIZE) if len(entries) == SIZE else (shard + 1, 0)
        if len(items) >= SIZE:
            return Page(items, f"{shard}.{rank}" if shard <= last_shard else None)
    return Page(items, None)


def chosen(word: str, choices: Mapping[str, str]) -> str:
    """Return what a word of the path stands for; raise `NotFound` for any other."""
    if word not in choices:
        raise NotFound(f"nothing here is called {word!a}; there is {', '.join(choices)}")
    return choices[word]


def _parsed(cursor: str) -> tuple[int, int]:
    match = _CURSOR.fullmatch(cursor)
    if match is None or int(match[1]) >= SHARDS:
        raise InvalidRequest("this cursor was not given out here; leave it out to begin at the first page")
    return int(match[1]), int(match[2])
