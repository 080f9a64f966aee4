"""A broker whose time the test moves: composed as `broker.app` does it, with clocks that read an offset from Redis.

There is no switch for that in product code. Run as `python -m tests.live.time_machine CONFIG LISTEN WORKERS`.
"""

import os
import sys
import threading

import redis
from granian.constants import Interfaces
from granian.server import Server
from litestar import Litestar

from broker import app
from broker import settings as settings_file
from broker.app import Broker, Stores
from broker.cli import logs
from broker.feed import follower
from broker.store import Store, SyncStore, watch
from scopes.clock import Instant, SystemClock
from tests.broker.world import CLOCK

PROCESSES = "test:clock:processes"
"""What processes add to their time; set a moment before the offset of the scripts, for nobody may be behind the store."""

POLL = 0.005


class OffsetClock:
    """The system's clock plus what stands in the store."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._offset = int(self._client.get(PROCESSES) or 0)
        threading.Thread(target=self._follow, daemon=True).start()

    def now(self) -> Instant:
        real = SystemClock().now()
        return Instant(real.wall + self._offset, real.boot + self._offset)

    def _follow(self) -> None:
        pause = threading.Event()
        while not pause.wait(POLL):
            self._offset = int(self._client.get(PROCESSES) or 0)


def create() -> Litestar:
    """Make the application for one worker."""
    # Between two looks at the store the test lets more time pass than they may be old.
    follower.MAX_AGE = watch.UNKNOWN_AFTER = 60_000
    configuration = app.configure(settings_file.load())
    url = configuration.settings.redis_url
    assert url is not None
    stores = Stores(Store.connect(url, clock=CLOCK), SyncStore.connect(url, clock=CLOCK))
    return Broker(configuration, stores, clock=OffsetClock(url)).application()


def main(config: str, listen: str, workers: str) -> None:
    os.environ[settings_file.CONFIG_VARIABLE] = config
    host, _, port = listen.rpartition(":")
    Server(
        f"{__spec__.name}:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=host,
        port=int(port),
        workers=int(workers),
        websockets=False,
        log_dictconfig=logs.configuration("info"),
    ).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
