"""Request bodies that carry authority: decoded strictly, never converted (`STYLE.md` 4)."""

from typing import Any, TypeVar

from litestar import Request

from broker.errors import InvalidRequest
from scopes import strict_json
from scopes.errors import InvalidDocument

T = TypeVar("T")
MAX_BODY = 32 * 1024


async def read(request: Request[Any, Any, Any], type: type[T], *, max_bytes: int = MAX_BODY) -> T:
    """Read a JSON body; raise `InvalidRequest` unless it is exactly of the type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("the body has to be application/json")
    try:
        return strict_json.decode(await request.body(), type=type, max_bytes=max_bytes)
    except InvalidDocument as error:
        raise InvalidRequest(str(error)) from None
