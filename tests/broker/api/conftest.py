"""A broker behind HTTP. What the rooms behind it do on a real Redis is tested there; here it is fakeredis."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.broker.front import Front, prepare
from tests.broker.world import World, fake_backend


@pytest_asyncio.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    prepare(tmp_path)
    backend = fake_backend()
    world = World(tmp_path, backend)
    world.follow()
    yield Front(world)
    await backend.close()
