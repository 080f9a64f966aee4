"""What a server says of itself (`INFO`)."""

from collections.abc import Mapping

import redis

from broker.store.command import pack

Info = Mapping[str, str]

QUESTION = ("INFO", "server", "memory", "replication", "persistence")


def parse(text: bytes | str) -> Info:
    """Read the lines `name:value`."""
    lines = (text.decode() if isinstance(text, bytes) else text).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


LIFE_QUESTION = pack("INFO", "server", "replication")


def life(text: bytes | str) -> str:
    """Return the `run_id` of a master; raise `ConnectionError` for any other, which vouches for nothing (TRAPS 21)."""
    info = parse(text)
    if info["role"] != "master":
        raise redis.exceptions.ConnectionError("this server follows another")
    return info["run_id"]
