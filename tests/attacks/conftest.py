"""A whole broker to attack over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from tests.broker.conftest import patient
from tests.broker.front import Front, opened

__all__ = ["front", "patient", "shared"]

# A busy machine is no bug.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """A broker of this test alone."""
    async with opened(tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """A broker of a whole file, for attacks that fail and so leave nothing behind."""
    async with opened(tmp_path_factory.mktemp("shared")) as made:
        yield made
