"""The store of one worker: a Redis, or one inside this process, which exists once."""

import fcntl
from pathlib import Path
from typing import NamedTuple, TextIO

from broker.errors import ConfigurationError
from broker.settings import Settings
from broker.store import Store, SyncStore
from scopes import ulid
from scopes.clock import SystemClock

_EMBEDDED_LOCK = "embedded.lock"


class Stores(NamedTuple):
    """The two connections of a worker: one for its event loop, one for its follower's thread."""

    shared: Store
    follower: SyncStore


def connect(settings: Settings) -> Stores:
    """Prepare the store; without a `redis_url`, one inside this process. Raises `ConfigurationError` if it is taken."""
    if settings.redis_url is not None:
        url, replicas = settings.redis_url, settings.replicas_required
        return Stores(Store.connect(url, replicas_required=replicas), SyncStore.connect(url, replicas_required=replicas))
    import fakeredis  # noqa: PLC0415 - brings Lua and much else, which a broker with a Redis never needs

    _HELD.append(_locked(settings.path(settings.keys) / _EMBEDDED_LOCK))
    server = fakeredis.FakeServer()
    life = ulid.new(SystemClock().now().wall)
    return Stores(
        Store.embedded(fakeredis.FakeAsyncRedis(server=server), run_id=life),
        SyncStore.embedded(fakeredis.FakeRedis(server=server), run_id=life),
    )


def check_free(settings: Settings) -> None:
    """Raise `ConfigurationError` if a broker with the embedded store runs on the same keys."""
    _locked(settings.path(settings.keys) / _EMBEDDED_LOCK).close()


def _locked(path: Path) -> TextIO:
    """Return a file that is locked as long as it is open: the embedded store exists once, or what it counts would be wrong."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(
            [f"{path}: another broker runs with the embedded store; set redis_url to run several"]
        ) from None
    return file


_HELD: list[TextIO] = []
