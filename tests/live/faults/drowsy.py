"""A broker whose worker stops itself (SIGSTOP) when it is about to sign, once for each time it is told to.

It is composed as `broker.app` does it, with keys that look for a file first: there is no switch in product code. Between the
last reading and the signature nothing else stands, so this is the stop between reading and signing, at will.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.server import Server
from litestar import Litestar

from broker import app
from broker import settings as settings_file
from broker.app import Broker
from broker.cli import logs
from broker.keys import FolderCustody, Key
from broker.keys.keys import Keys
from scopes.clock import SystemClock

KINDS = ("token", "feed")


class DrowsyKey:
    """Signs as the key does; where its file exists, it takes the file away and falls asleep before it signs."""

    def __init__(self, key: Any, bed: Path) -> None:
        self._key = key
        self._bed = bed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)

    def sign(self, data: bytes) -> bytes:
        if self._bed.exists():
            self._bed.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)
        signature: bytes = self._key.sign(data)
        return signature


def bed(folder: Path, kind: str) -> Path:
    """Name the file that makes the next signature of this kind wait."""
    return folder / f"asleep-before-{kind}"


class DrowsyCustody(FolderCustody):
    """Keeps keys as the folder does, and gives them out drowsy."""

    def __init__(self, wrapping: Any, folder: Path) -> None:
        super().__init__(wrapping)
        self._folder = folder

    def signer(self, key: Key) -> Any:
        return DrowsyKey(super().signer(key), bed(self._folder, key.use))


class DrowsyBroker(Broker):
    def _keys(self) -> Keys:
        folder = self.configuration.keys
        custody = DrowsyCustody(folder.wrapping, Path(self.configuration.settings.folder))
        stores = self.stores
        return Keys(folder, custodies=[custody], store=stores.shared, follower=stores.follower, clock=self.clock)


def create() -> Litestar:
    """Make the application for one worker."""
    configuration = app.configure(settings_file.load())
    return DrowsyBroker(configuration, app.connect(configuration.settings), clock=SystemClock()).application()


def main(config: str, listen: str) -> None:
    os.environ[settings_file.CONFIG_VARIABLE] = config
    host, _, port = listen.rpartition(":")
    Server(
        f"{__spec__.name}:create",
        factory=True,
        interface=Interfaces.ASGI,
        address=host,
        port=int(port),
        websockets=False,
        log_dictconfig=logs.configuration("info"),
    ).serve()


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[4])
