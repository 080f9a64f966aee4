"""What a `redis_url` names: one server, the master of a service that sentinels watch over, or a cluster."""

import re
from typing import Any, Literal, NamedTuple

from redis.connection import parse_url

from broker.errors import ConfigurationError

Node = tuple[str, int]
"""A host and its port."""

_DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}
_URL = re.compile(
    r"(?P<tls>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<user>[^@/?#]*)@)?(?P<nodes>[^@/?#]+)(?P<path>[^?#]*)(?P<query>\?[^#]*)?"
)
_NODE = re.compile(r"(?P<host>[^\[\]:\s]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>[0-9]{1,5}))?")
_SENTINELS_OWN = "sentinel_"


class Address(NamedTuple):
    """Where to connect: a server by its `url`, all else by its `nodes`, with the client library's `options`."""

    kind: Literal["server", "sentinel", "cluster"]
    options: dict[str, Any]
    url: str = ""
    nodes: tuple[Node, ...] = ()
    service: str = ""
    tls: bool = False
    sentinel_options: dict[str, Any] = {}  # noqa: RUF012 - the class is a tuple, and nobody changes it


def parse(url: str) -> Address:
    """Read a URL; raise `ConfigurationError`, which does not quote it: it may hold a password."""
    several = _URL.fullmatch(url)
    try:
        return _one(url) if several is None else _several(several)
    except ValueError as error:
        raise ConfigurationError([f"redis_url: {error}"]) from None


def _one(url: str) -> Address:
    if "," in url.partition("://")[2].partition("/")[0].rpartition("@")[2]:
        raise ValueError("several servers are redis+sentinel://HOST:PORT,…/SERVICE or redis+cluster://HOST:PORT,…")
    return Address("server", _options(url), url)


def _several(url: re.Match[str]) -> Address:
    kind: Literal["sentinel", "cluster"] = "sentinel" if url["kind"] == "sentinel" else "cluster"
    nodes = tuple(_node(text, _DEFAULT_PORTS[kind]) for text in url["nodes"].split(","))
    parts = [part for part in url["path"].split("/") if part]
    service, database = (parts[0] if parts else "", parts[1:]) if kind == "sentinel" else ("", parts)
    if kind == "sentinel" and (not service or len(database) > 1 or not "".join((*database, "0")).isdecimal()):
        raise ValueError("redis+sentinel:// names a service: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB")
    if kind == "cluster" and database not in ([], ["0"]):
        raise ValueError("a cluster has no database but 0: redis+cluster://HOST:PORT,HOST:PORT")
    user = f"{url['user']}@" if url["user"] is not None else ""
    options: dict[str, Any] = _options(f"redis://{user}unused/{''.join(database) or '0'}{url['query'] or ''}")
    del options["host"]
    own = {name: options.pop(name) for name in list(options) if name.startswith(_SENTINELS_OWN)}
    own = {name.removeprefix(_SENTINELS_OWN): value for name, value in own.items()}
    return Address(kind, options, "", nodes, service, url["tls"] == "rediss", own)


def _options(url: str) -> dict[str, Any]:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _node(text: str, default_port: int) -> Node:
    match = _NODE.fullmatch(text)
    if match is None:
        raise ValueError("each server is HOST:PORT")
    return match["host"].strip("[]"), int(match["port"] or default_port)
