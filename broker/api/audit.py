"""`GET /v1/audit/events`: what happened, oldest first."""

import re
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from broker.api.presented import presented
from broker.audit import Audit, Entry
from broker.callers import Callers
from broker.errors import InvalidRequest

JSON_LINES = "application/x-ndjson"

_MILLISECONDS = re.compile(r"[0-9]{1,15}")


@get("/v1/audit/events")
async def list_events(
    request: Request[Any, Any, Any],
    callers: NamedDependency[Callers],
    audit: NamedDependency[Audit],
    cursor: FromQuery[str] = "",
    since: FromQuery[str] = "",
) -> Response[bytes]:
    """Return records after the cursor, or since a time, as JSON or as JSON lines; the last line's cursor is where to go on."""
    await callers.operator(presented(request), "audit:read")
    entries = [_shown(entry) for entry in await audit.read(cursor, since=_milliseconds(since))]
    if request.headers.get("accept") == JSON_LINES:
        return Response(b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries), media_type=JSON_LINES)
    last = entries[-1]["cursor"] if entries else cursor or None
    return Response(msgspec.json.encode({"events": entries, "cursor": last}), media_type="application/json")


def _milliseconds(since: str) -> int:
    if since and _MILLISECONDS.fullmatch(since) is None:
        raise InvalidRequest("since is a time in milliseconds since the Unix epoch")
    return int(since or 0)


def _shown(entry: Entry) -> dict[str, Any]:
    return {"cursor": entry.cursor, "time": entry.time, **msgspec.json.decode(msgspec.json.encode(entry.record))}
