"""JSON that can mean only one thing: typed, with no member twice, no more than it may hold, and not too deep."""

import json
from typing import Any, TypeVar

import msgspec

from scopes.errors import InvalidDocument

T = TypeVar("T")


def decode(data: bytes, *, type: type[T], max_bytes: int) -> T:
    """Read JSON into `type` without converting anything; raise `InvalidDocument` otherwise.

    A member twice is refused (RFC 8725 §2.4 tells what parsers that disagree are good for). Whether unknown members are
    refused is the type's to say. Depth is bounded by what the type can hold, and for what it ignores by the parser.
    """
    if len(data) > max_bytes:
        raise InvalidDocument(f"larger than {max_bytes} bytes")
    try:
        value = msgspec.json.decode(data, type=type)
        if msgspec.json.encode(value) != data:
            json.loads(data, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidDocument(f"not the JSON expected here: {error}") from None
    return value


def _without_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    # Called only where re-encoding gave another text: the encoder never writes a member twice, so the same text holds none.
    # The same length would not do, for the encoder may write a number longer than it came (1e6 as 1000000.0).
    found = dict(members)
    if len(found) != len(members):
        raise InvalidDocument("a member stands twice")
    return found
