"""A broker behind HTTP. What the rooms behind it do on a real Redis is tested there; here it is fakeredis."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.broker.front import Front, opened


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker of this test alone."""
    async with opened(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """A broker of a whole file, for tests that leave nothing behind which another one could see."""
    async with opened(tmp_path_factory.mktemp("shared")) as made:
        yield made
