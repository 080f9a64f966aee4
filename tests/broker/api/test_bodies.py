"""Bodies that carry authority are read strictly."""

from typing import Any

import msgspec
import pytest

from broker.api import bodies
from broker.errors import InvalidRequest


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    name: str = ""


class Sent:
    """A request as far as a body needs one."""

    def __init__(self, content: bytes, media_type: str | None = "application/json") -> None:
        self.headers = {} if media_type is None else {"content-type": media_type}
        self._content = content

    async def body(self) -> bytes:
        return self._content


async def read(content: bytes, media_type: str | None = "application/json") -> Wish:
    sent: Any = Sent(content, media_type)
    return await bodies.read(sent, Wish)


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y"]
)
async def test_a_body_of_the_type_is_read(media_type: str) -> None:
    assert await read(b'{"count":5,"name":"a"}', media_type) == Wish(5, "a")


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/json+x", "text/json", "application/x-www-form-urlencoded"]
)
async def test_a_body_of_another_media_type_is_refused(media_type: str | None) -> None:
    with pytest.raises(InvalidRequest, match="application/json"):
        await read(b'{"count":5}', media_type)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"count":"5"}',
        b'{"count":true}',
        b'{"count":5.0}',
        b'{"count":null}',
        b'{"count":5,"more":1}',
        b'{"count":5,"count":5}',
        b'{"count":5} x',
        b'{"count":5,"name":"\xff"}',
        b'{"count":5,"name":"' + b"x" * bodies.MAX_BODY + b'"}',
        b"\xef\xbb\xbf" + b'{"count":5}',
    ],
    ids=[
        "nothing",
        "null",
        "a list",
        "a member missing",
        "a text",
        "a boolean",
        "a float",
        "a null",
        "a member nobody knows",
        "a member twice",
        "something after it",
        "no UTF-8",
        "too large",
        "a byte order mark",
    ],
)
async def test_nothing_is_converted_and_nothing_skipped(content: bytes) -> None:
    """`STYLE.md` 4, TRAPS 14."""
    with pytest.raises(InvalidRequest):
        await read(content)
