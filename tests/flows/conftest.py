"""Flows span rooms, on the same stores and worlds as the rooms' own tests, or with an agent before a real broker."""

from collections.abc import AsyncIterator

import httpx2
import pytest_asyncio

from broker.client import Agent
from broker.client.agent import identity_file
from tests.broker.cli.served import Served
from tests.broker.conftest import backend, neighbour, own_world, patient, redis_server, redis_url, repeating_world, world

__all__ = ["backend", "neighbour", "own_world", "patient", "redis_server", "redis_url", "repeating_world", "world"]


@pytest_asyncio.fixture
async def agent(served: Served) -> AsyncIterator[Agent]:
    """The broker's agent, with a client of its own for services."""
    services = httpx2.AsyncClient(trust_env=False)
    agent = Agent(served.url, identity_file(served.identity), services=services)
    async with services, agent:
        yield agent
