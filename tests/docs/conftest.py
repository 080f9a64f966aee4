"""A whole broker for the pages that are compared with one; which store it has makes no difference here."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.broker.world import World, fake_backend


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A broker whose follower has caught up, and that bears a machine which stands still for a second."""
    monkeypatch.setattr("broker.feed.follower.MAX_AGE", 60_000)
    backend = fake_backend()
    made = World(tmp_path, backend)
    made.follow()
    yield made
    await backend.close()
