"""What rooms ask Redis through. Nothing here repeats a script by itself, and it is known which server life it spoke to.

A lost answer leaves open whether the script ran, so the client library's retries are off (`TRAPS.md` 21b) and the caller
hears `Unavailable`. A new connection reads the server's `run_id` first: whoever compares it with the epoch's knows that what
it just did was done in the life of the store that it believes in (`DESIGN.md` 3.7).
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import redis
import redis.asyncio

from broker.errors import Unavailable
from broker.store import pools
from broker.store.address import Node, parse
from broker.store.cluster import Cluster
from broker.store.command import READS, Argument, key_of, pack
from broker.store.confirmation import Confirmation
from broker.store.line import Line
from broker.store.scripts import CLOCK, Script
from broker.store.sync_cluster import SyncCluster
from broker.store.sync_line import SyncLine

TIMEOUT = 2.0
"""The seconds after which an answer from Redis is no longer waited for."""

_CONFIRMED_WITHIN = 0.5
"""How much of that time replicas have."""


class Servers(Protocol):
    """Where commands go, by key. Answers to a question with the error in the answer's place."""

    @property
    def run_id(self) -> str:
        """The life of the servers; empty while it is not known."""

    def ask(self, key: str, packed: bytes, *, writes: bool) -> Awaitable[Any]:
        """Ask the server that holds the key."""

    async def close(self) -> None:
        """Close every connection."""


class SyncServers(Protocol):
    """The same for one thread."""

    @property
    def run_id(self) -> str:
        """The life of the servers; empty while it is not known."""

    def ask(self, key: str, packed: bytes, *, writes: bool) -> Any:
        """Ask the server that holds the key."""

    def close(self) -> None:
        """Close every connection."""


class Store:
    """Redis for the event loop. Callers that wait at the same moment share one round trip (`DESIGN.md` 3.13)."""

    def __init__(self, servers: Servers, *, clock: str = CLOCK, is_embedded: bool = False) -> None:
        """Speak to `servers`; `clock` is the Lua that all scripts begin with."""
        self._servers = servers
        self._clock = clock
        self._is_embedded = is_embedded

    @classmethod
    def connect(cls, url: str, *, clock: str = CLOCK, replicas_required: int = 0) -> "Store":
        """Prepare a store for what `url` names; connections are made when they are first used.

        What writes counts when `replicas_required` replicas confirmed it.
        """
        address, confirmation = parse(url), _confirmation(replicas_required)

        def line(node: Node | None = None) -> Line:
            return Line(pools.pool(address, timeout=TIMEOUT, node=node), timeout=TIMEOUT, confirmation=confirmation)

        return cls(Cluster(address.nodes, line) if address.kind == "cluster" else line(), clock=clock)

    @classmethod
    def embedded(cls, client: redis.asyncio.Redis, *, run_id: str, clock: str = CLOCK) -> "Store":
        """Use a store inside this process, whose life is `run_id`."""
        return cls(Line(client.connection_pool, timeout=TIMEOUT, run_id=run_id), clock=clock, is_embedded=True)

    @property
    def run_id(self) -> str:
        """The life of the store that was last spoken to."""
        return self._servers.run_id

    def script(self, package: str, name: str, *, even_when_full: bool = False) -> Script:
        """Read a room's script, with this store's clock; what ends access runs even when the store is full."""
        # An embedded store is never full, and knows no flags.
        return Script(package, name, clock=self._clock, even_when_full=even_when_full and not self._is_embedded)

    async def call(self, *command: Argument) -> Any:
        """Run one command; raise `Unavailable` if it is not known to have been carried out."""
        return _known(await self._ask(key_of(command), command, writes=command[0] not in READS))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script once; raise `Unavailable` if it is not known to have run, `Unconfirmed` if replicas do not have it."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        answer = await self._ask(keys[0], command, writes=script.writes)
        if isinstance(answer, redis.exceptions.NoScriptError):
            # It did not run, so to load it and ask again is not a repetition.
            _known(await self._ask(keys[0], ("SCRIPT", "LOAD", script.text), writes=False))
            answer = await self._ask(keys[0], command, writes=script.writes)
        return _known(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._servers.close()

    def _ask(self, key: str, command: Sequence[Argument], *, writes: bool) -> Awaitable[Any]:
        # Packed here, so that a command that cannot be written fails for its own caller, and for nobody in the same batch.
        return self._servers.ask(key, pack(*command), writes=writes)


class SyncStore:
    """Redis for one thread."""

    def __init__(self, servers: SyncServers, *, clock: str = CLOCK, is_embedded: bool = False) -> None:
        """Speak to `servers`; `clock` is the Lua that all scripts begin with."""
        self._servers = servers
        self._clock = clock
        self._is_embedded = is_embedded

    @classmethod
    def connect(cls, url: str, *, clock: str = CLOCK, replicas_required: int = 0) -> "SyncStore":
        """Prepare a store for what `url` names; connections are made when they are first used.

        What a script found or did counts when `replicas_required` replicas confirmed it.
        """
        address, confirmation = parse(url), _confirmation(replicas_required)

        def line(node: Node | None = None) -> SyncLine:
            return SyncLine(pools.sync_pool(address, timeout=TIMEOUT, node=node), confirmation=confirmation)

        return cls(SyncCluster(address.nodes, line) if address.kind == "cluster" else line(), clock=clock)

    @classmethod
    def embedded(cls, client: redis.Redis, *, run_id: str, clock: str = CLOCK) -> "SyncStore":
        """Use a store inside this process, whose life is `run_id`."""
        return cls(SyncLine(client.connection_pool, run_id=run_id), clock=clock, is_embedded=True)

    @property
    def run_id(self) -> str:
        """The life of the store that was last spoken to."""
        return self._servers.run_id

    @property
    def is_embedded(self) -> bool:
        """Tell whether the store is inside this process, so that nobody else can use it."""
        return self._is_embedded

    def script(self, package: str, name: str, *, even_when_full: bool = False) -> Script:
        """Read a room's script, with this store's clock; what ends access runs even when the store is full."""
        # An embedded store is never full, and knows no flags.
        return Script(package, name, clock=self._clock, even_when_full=even_when_full and not self._is_embedded)

    def call(self, *command: Argument) -> Any:
        """Run one command; raise `Unavailable` if it is not known to have been carried out."""
        return _known(self._ask(key_of(command), command, writes=command[0] not in READS))

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script once; raise `Unavailable` if it is not known to have run, `Unconfirmed` if replicas do not have it.

        Also where it only read: a thread vouches for what it reads, and an old master must not be believed (`DESIGN.md` 3.9).
        """
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        answer = self._ask(keys[0], command, writes=True)
        if isinstance(answer, redis.exceptions.NoScriptError):
            _known(self._ask(keys[0], ("SCRIPT", "LOAD", script.text), writes=False))
            answer = self._ask(keys[0], command, writes=True)
        return _known(answer)

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    def _ask(self, key: str, command: Sequence[Argument], *, writes: bool) -> Any:
        return self._servers.ask(key, pack(*command), writes=writes)


def _known(answer: Any) -> Any:
    if isinstance(answer, Unavailable):
        raise answer
    if isinstance(answer, Exception):
        # Only the kind of error: its text can quote arguments.
        kind = type(answer).__name__
        raise Unavailable(f"the store did not confirm ({kind}); nothing was granted, try again", retry_after=1) from None
    return answer


def _confirmation(replicas: int) -> Confirmation:
    return Confirmation(replicas, within=int(TIMEOUT * _CONFIRMED_WITHIN * 1000))
