"""Lists over shards, a page at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import pages
from broker.errors import InvalidRequest, NotFound
from broker.store import shard_of
from broker.store.shards import SHARDS


class Shards:
    """Entries by shard, read by rank."""

    def __init__(self, sizes: dict[int, int]) -> None:
        self.entries = {shard: [f"{shard}-{rank}" for rank in range(size)] for shard, size in sizes.items()}

    async def read(self, shard: int, ranks: tuple[int, int]) -> list[str]:
        return self.entries.get(shard, [])[ranks[0] : ranks[1] + 1]

    async def pages(self, name: str | None = None, wanted: str = "") -> list[list[str]]:
        found: list[list[str]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await pages.read(cursor, name, self.read, lambda entry: entry.endswith(wanted))
            found.append(page.items)
            cursor = page.cursor
        return found


SIZES = st.dictionaries(st.integers(0, SHARDS - 1), st.integers(0, 250), max_size=4)


@given(SIZES, st.sampled_from(["", "7", "99"]))
async def test_every_entry_comes_once_and_no_page_is_without_bounds(sizes: dict[int, int], wanted: str) -> None:
    shards = Shards(sizes)
    found = await shards.pages(wanted=wanted)
    everything = [entry for entries in shards.entries.values() for entry in entries if entry.endswith(wanted)]
    assert sorted(entry for page in found for entry in page) == sorted(everything)
    assert all(len(page) < 2 * pages.SIZE for page in found)
    assert all(len(page) >= pages.SIZE for page in found[:-1])


@given(SIZES)
async def test_for_one_agent_only_its_shard_is_read(sizes: dict[int, int]) -> None:
    shards = Shards(sizes)
    found = await shards.pages("support-bot")
    assert [entry for page in found for entry in page] == shards.entries.get(shard_of("support-bot"), [])


@pytest.mark.parametrize(
    "cursor", ["0", "0.", ".0", "64.0", "-1.0", "a.b", "0.0.0", "0.0\n", "٠.٠", "0." + "9" * 10, "0." + "9" * 5000]
)
async def test_a_cursor_that_was_not_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="not given out here"):
        await pages.read(cursor, None, Shards({}).read, bool)


async def test_a_cursor_beyond_the_end_finds_nothing() -> None:
    assert await pages.read("63.999", None, Shards({0: 5}).read, bool) == ([], None)


def test_a_word_of_the_path_is_one_of_those_there_are() -> None:
    assert pages.chosen("a", {"a": "b"}) == "b"
    with pytest.raises(NotFound, match="there is a, c"):
        pages.chosen("b", {"a": "b", "c": "d"})
