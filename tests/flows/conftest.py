"""Flows span rooms, on the same stores and worlds as the rooms' own tests."""

from tests.broker.conftest import backend, neighbour, own_world, patient, redis_server, redis_url, repeating_world, world

__all__ = ["backend", "neighbour", "own_world", "patient", "redis_server", "redis_url", "repeating_world", "world"]
