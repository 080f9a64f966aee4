"""`/v1/keys`: the broker's own keys, where each stands in its life, and another in the place of one."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from broker.api import bodies
from broker.api.presented import presented
from broker.callers import Callers
from broker.errors import InvalidRequest
from broker.keys import Key, Use
from broker.keys.keys import Keys
from broker.rotation import Rotation


class RotationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which kind of key is to be followed by another, how soon, and why; `revoke` names the one that is to count no more."""

    reason: str
    use: Use = "token"
    now: bool = False
    revoke: str | None = None


@get("/v1/keys")
async def list_keys(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], keys: NamedDependency[Keys]
) -> dict[str, Any]:
    """List every key that still counts for something; never a private part."""
    await callers.operator(presented(request), "keys:list")
    now = keys.now()
    return {"time": now, "keys": [_shown(key, now) for key in keys.record.keys if not key.is_forgotten(now)], "cursor": None}


@post("/v1/keys/rotate", status_code=202)
async def rotate(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    keys: NamedDependency[Keys],
    rotation: NamedDependency[Rotation],
) -> dict[str, Any]:
    """Prepare another key, have it sign at once, or revoke one; the answer comes when all workers have it to read."""
    operator = await callers.operator(presented(request), "keys:rotate")
    wanted = await bodies.read(request, RotationRequest)
    if wanted.revoke is None:
        key = await rotation.rotate(wanted.use, wanted.reason, operator, at_once=wanted.now)
        return {"key": _shown(key, keys.now()), "revocation": None}
    known = keys.record.get(wanted.revoke)
    if known is not None and known.use != wanted.use:
        raise InvalidRequest(f"{wanted.revoke} is a {known.use} key; say so with use")
    replaced = await rotation.replace(wanted.revoke, wanted.reason, operator)
    return {"key": _shown(replaced.key, keys.now()), "revocation": replaced.revocation}


def _shown(key: Key, now: int) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "use": key.use,
        "alg": key.alg,
        "kept": key.kept,
        "state": key.state(now),
        "prepared": key.prepared,
        "activates": key.activates,
        "retires": key.retires,
        "forgets": key.forgets,
    }
