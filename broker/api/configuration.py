"""`/v1/activations` and `/v1/configuration`: put a configuration into force for all workers, and see what is in force."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency

from broker.activation import Activation
from broker.active.adoption import Adoption
from broker.active.sources import Sources
from broker.api import bodies
from broker.api.presented import presented
from broker.callers import Callers
from broker.errors import InvalidRequest
from broker.feed.follower import MAX_AGE, Follower

MAX_SENT = 4 * 1024 * 1024
"""The bytes of a configuration that is sent: a thousand agents and a hundred policies take less than a tenth of it."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class ActivationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The files to put into force, by name, and why; with `dry_run`, only what that would change is told."""

    registry: dict[str, str]
    policies: dict[str, str]
    reason: str
    dry_run: bool = False


@post("/v1/activations", status_code=200, request_max_body_size=MAX_SENT)
async def activate(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], activation: NamedDependency[Activation]
) -> dict[str, Any]:
    """Put a configuration into force; when the answer comes, nothing is decided by another any more."""
    operator = await callers.operator(presented(request), "configuration:activate")
    wanted = await bodies.read(request, ActivationRequest, max_bytes=MAX_SENT)
    _check_names(wanted.registry, ".toml")
    _check_names(wanted.policies, ".cedar")
    sources = Sources(wanted.registry, wanted.policies)
    done = await activation.activate(sources, wanted.reason, operator, is_tried=wanted.dry_run)
    return {
        "digest": done.digest,
        "new": done.is_new,
        "epoch": done.place.epoch if done.place is not None else None,
        "seq": done.place.seq if done.place is not None else None,
        "changes": [{"what": what, "name": name, "how": how} for what, name, how in done.changes],
    }


@get("/v1/configuration")
async def show(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    activation: NamedDependency[Activation],
    adoption: NamedDependency[Adoption],
    follower: NamedDependency[Follower],
) -> dict[str, Any]:
    """Show what is in force, how the files of the worker that is asked stand to it, and which workers decide by it."""
    await callers.operator(presented(request), "watch")
    known, bundle = follower.activated, adoption.bundle
    return {
        "digest": known.digest if known is not None else None,
        "id": known.id if known is not None else None,
        "epoch": known.epoch if known is not None else None,
        "seq": known.seq if known is not None else None,
        "since": bundle.time if bundle is not None else None,
        "by": bundle.by if bundle is not None else None,
        "said": bundle.said if bundle is not None else None,
        "problem": adoption.problem,
        "files": _files(activation),
        "file_problems": activation.file_problems,
        "workers": await _workers(activation, known.id if known is not None else ""),
    }


async def _workers(activation: Activation, id: str) -> list[dict[str, Any]]:
    return [
        {"id": worker.id, "silent_ms": worker.silent, "state": _state(worker.configuration == id, worker.silent)}
        for worker in await activation.workers()
    ]


def _state(is_current: bool, silent: int) -> str:
    """A worker that has not been heard for a second issues nothing, whatever it works by."""
    if silent > MAX_AGE:
        return "silent"
    return "current" if is_current else "behind"


def _files(activation: Activation) -> str:
    if activation.file_problems:
        return "broken"
    return "differ" if activation.files_differ else "same"


def _check_names(texts: Mapping[str, str], ending: str) -> None:
    for name in texts:
        if not name.endswith(ending) or _NAME.fullmatch(name) is None:
            raise InvalidRequest(f"{name!a}: has to be the name of a file that ends in {ending}")
    if not texts:
        raise InvalidRequest(f"there are no files that end in {ending}, so nothing would be allowed")
