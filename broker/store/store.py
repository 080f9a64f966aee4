"""Connections to Redis that never repeat a script by themselves, and that know which server life they speak to.

A lost answer leaves open whether the script ran, so the client library's retries are off (`TRAPS.md` 21b) and the caller
hears `Unavailable`. A new connection reads the server's `run_id` first: whoever compares it with the epoch's knows that what
it just did was done in the life of the store that it believes in (`DESIGN.md` 3.7).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from broker.errors import Unavailable
from broker.store.scripts import CLOCK, Script

Argument = str | bytes | int
"""What a command takes."""

Command = tuple[Any, ...]
"""A command and its arguments."""

TIMEOUT = 2.0
"""The seconds after which an answer from Redis is no longer waited for."""

_LARGEST_BATCH = 512


class Store:
    """Redis for the event loop. Callers that wait at the same moment share one round trip (`DESIGN.md` 3.13)."""

    def __init__(self, client: redis.asyncio.Redis, *, run_id: str = "", clock: str = CLOCK) -> None:
        """Speak through `client`; `run_id` is the life of a store without a server, `clock` the Lua all scripts begin with."""
        self._clock = clock
        # An embedded store is never full, and knows no flags.
        self._is_embedded = bool(run_id)
        self._client = client
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._drain: asyncio.Task[None] | None = None
        self.run_id = run_id

    @classmethod
    def connect(cls, url: str, *, clock: str = CLOCK) -> "Store":
        """Prepare a store for the server at `url`; the connection is made when it is first used."""
        store = cls(
            redis.asyncio.Redis.from_url(url, max_connections=1, **_client_options(AsyncRetry(NoBackoff(), 0))), clock=clock
        )
        store._client.connection_pool.connection_kwargs["redis_connect_func"] = store._on_connect
        return store

    def script(self, package: str, name: str, *, even_when_full: bool = False) -> Script:
        """Read a room's script, with this store's clock; what ends access runs even when the store is full."""
        return Script(package, name, clock=self._clock, even_when_full=even_when_full and not self._is_embedded)

    async def call(self, *command: Argument) -> Any:
        """Run one command; raise `Unavailable` if it is not known to have been carried out."""
        answer = await self._enqueue(command)
        if isinstance(answer, Exception):
            raise _unavailable(answer)
        return answer

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script once; raise `Unavailable` if it is not known to have run."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        answer = await self._enqueue(command)
        if isinstance(answer, redis.exceptions.NoScriptError):
            # It did not run, so to load it and ask again is not a repetition.
            await self.call("SCRIPT", "LOAD", script.text)
            return await self.call(*command)
        if isinstance(answer, Exception):
            raise _unavailable(answer)
        return answer

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _enqueue(self, command: Command) -> Any:
        # Packed here, so that a command that cannot be written fails for its own caller, and for nobody in the same batch.
        packed = hiredis.pack_command(command)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((packed, future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._send_waiting())
        return await future

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
            answers = await self._send([command for command, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def _send(self, commands: list[bytes]) -> list[Any]:
        # Beneath the client's own pipeline, which packs each command in Python at several times the cost.
        try:
            connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        except (redis.exceptions.RedisError, OSError) as error:
            return [error] * len(commands)
        answers: list[Any] = []
        try:
            await connection.send_packed_command(commands, check_health=False)
            while len(answers) < len(commands):
                answers.append(await self._answer(connection))
            return answers
        except (redis.exceptions.RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            return answers + [error] * (len(commands) - len(answers))
        finally:
            await self._client.connection_pool.release(connection)

    async def _answer(self, connection: Any) -> Any:
        """Read one answer; what the server refused is an answer too, a lost connection is not."""
        try:
            return await connection.read_response()
        except redis.exceptions.ResponseError as refusal:
            return refusal

    async def _on_connect(self, connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        self.run_id = _run_id(await connection.read_response())


class SyncStore:
    """Redis for one thread."""

    def __init__(self, client: redis.Redis, *, run_id: str = "", clock: str = CLOCK) -> None:
        """Speak through `client`; `run_id` is the life of a store without a server, `clock` the Lua all scripts begin with."""
        self._clock = clock
        # An embedded store is never full, and knows no flags.
        self._is_embedded = bool(run_id)
        self._client = client
        self.run_id = run_id

    @classmethod
    def connect(cls, url: str, *, clock: str = CLOCK) -> "SyncStore":
        """Prepare a store for the server at `url`; the connection is made when it is first used."""
        store = cls(redis.Redis.from_url(url, max_connections=1, **_client_options(Retry(NoBackoff(), 0))), clock=clock)
        store._client.connection_pool.connection_kwargs["redis_connect_func"] = store._on_connect
        return store

    @property
    def is_embedded(self) -> bool:
        """Tell whether the store is inside this process, so that nobody else can use it."""
        return self._is_embedded

    def script(self, package: str, name: str, *, even_when_full: bool = False) -> Script:
        """Read a room's script, with this store's clock; what ends access runs even when the store is full."""
        return Script(package, name, clock=self._clock, even_when_full=even_when_full and not self._is_embedded)

    def call(self, *command: Argument) -> Any:
        """Run one command; raise `Unavailable` if it is not known to have been carried out."""
        try:
            return self._execute(command)
        except (redis.exceptions.RedisError, OSError) as error:
            raise _unavailable(error) from None

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script once; raise `Unavailable` if it is not known to have run."""
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        try:
            return self._execute(command)
        except redis.exceptions.NoScriptError:
            self.call("SCRIPT", "LOAD", script.text)
            return self.call(*command)
        except (redis.exceptions.RedisError, OSError) as error:
            raise _unavailable(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _execute(self, command: Sequence[Argument]) -> Any:
        return self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    def _on_connect(self, connection: Any) -> None:
        connection.on_connect()
        connection.send_command("INFO", "server")
        self.run_id = _run_id(connection.read_response())


def _client_options(retry: Any) -> dict[str, Any]:
    return {
        "retry": retry,
        "retry_on_error": [],
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "health_check_interval": 0,
    }


def _run_id(info: bytes | str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)["run_id"]


def _unavailable(error: Exception) -> Unavailable:
    # Only the kind of error: its text can quote arguments.
    return Unavailable(f"the store did not confirm ({type(error).__name__}); nothing was granted, try again", retry_after=1)
