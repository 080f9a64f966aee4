"""How a verifier process acknowledges, in the words of the broker, and what it needs to know for that."""

from typing import Any

import msgspec

from broker.feed.acknowledgements import Acknowledgement
from scopes.revocations import Place
from tests.broker.world import CRM, CRM_WORKLOAD, World

FIRST, SECOND = "process-one", "process-two"


def said(world: World, verifier: str = FIRST, **changes: Any) -> Acknowledgement:
    """Say that a process stands where the worker does; anything can be changed."""
    picture = world.broker.streams.picture
    good = {"epoch": picture.epoch, "seq": picture.seq, "id": picture.id, "as_of": picture.as_of}
    return Acknowledgement(**{"verifier": verifier, "aud": CRM, "version": "1.2.3", **good, **changes})


def body(world: World, verifier: str = FIRST, **changes: Any) -> dict[str, Any]:
    """Write the same as it goes over the wire."""
    return {**msgspec.to_builtins(said(world, verifier)), **changes}


async def acknowledge(world: World, verifier: str = FIRST, *, workload: str = CRM_WORKLOAD, **changes: Any) -> bool:
    return await world.broker.acknowledgements.take(said(world, verifier, **changes), workload)


def place(world: World) -> Place:
    """Return where the worker stands."""
    picture = world.broker.streams.picture
    return Place(seq=picture.seq, id=picture.id)
