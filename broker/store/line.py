"""One connection to one server for the event loop, beneath the client library's own pipeline."""

import asyncio
import math
from typing import Any

import redis
import redis.asyncio

from broker.store import info
from broker.store.confirmation import NOBODY, Confirmation

_LARGEST_BATCH = 512

Waiting = tuple[bytes, str, asyncio.Future[Any]]
"""A packed command, the key whose writing replicas have to confirm (empty: none), and who waits for the answer."""


class Line:
    """Callers that wait at the same moment share one round trip, and one pipeline is in flight at a time (`DESIGN.md` 3.13).

    A new connection reads first which life of the server it speaks to.
    """

    def __init__(
        self,
        pool: redis.asyncio.ConnectionPool,
        *,
        timeout: float,
        confirmation: Confirmation = NOBODY,
        run_id: str | None = None,
    ) -> None:
        """Speak through the one connection of `pool`, and wait for a pipeline's answers at most `timeout` seconds.

        `run_id` is the life of a store that has no server.
        """
        self._pool = pool
        self._timeout = timeout
        self._confirmation = confirmation
        self._waiting: list[Waiting] = []
        self._drain: asyncio.Task[None] | None = None
        self._is_closed = False
        self.run_id = run_id or ""
        if run_id is None:
            pool.connection_kwargs["redis_connect_func"] = self._on_connect

    def ask(self, key: str, packed: bytes, *, writes: bool) -> asyncio.Future[Any]:
        """Return what will hold the answer, or the error in its place: of the connection, the server, or too few replicas."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            future.set_result(_closed())
            return future
        self._waiting.append((packed, key if writes and self._confirmation.replicas else "", future))
        if self._drain is None or self._drain.done():
            self._drain = asyncio.create_task(self._send_waiting())
        return future

    async def close(self) -> None:
        """Close the connection once all that was asked has been answered; nothing is asked any more from now on."""
        self._is_closed = True
        if self._drain is not None and not self._drain.done():
            # Not under a question that is on its way: it would be neither answered nor known to be lost.
            await asyncio.wait([self._drain])
        await self._pool.aclose()

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
            answers: list[Any] = []
            try:
                answers = await self._answers(batch)
            finally:
                # Whatever ended it: who waits for an answer has to hear that there is none.
                answers += [_closed()] * (len(batch) - len(answers))
                for (_, _, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    async def _answers(self, batch: list[Waiting]) -> list[Any]:
        commands = [packed for packed, _, _ in batch]
        if not self._confirmation.replicas:
            return await self._send(commands)
        written = next((key for _, key, _ in batch if key), "")
        if not written:
            return await self._send(commands)
        answers = await self._send(commands + self._confirmation.questions(written))
        own, last = answers[: len(batch)], answers[len(batch) :]
        return [
            self._confirmation.judge(answer, last) if key else answer for (_, key, _), answer in zip(batch, own, strict=True)
        ]

    async def _send(self, commands: list[bytes]) -> list[Any]:
        # Beneath the client's own pipeline, which packs each command in Python at several times the cost.
        try:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        except (redis.exceptions.RedisError, OSError) as error:
            return [error] * len(commands)
        answers: list[Any] = []
        try:
            # One bound for all of them: the library's own, for each answer, costs as much as to read it.
            async with asyncio.timeout(self._timeout):
                await connection.send_packed_command(commands, check_health=False)
                while len(answers) < len(commands):
                    answers.append(await self._answer(connection))
            return answers
        except (redis.exceptions.RedisError, OSError) as error:
            await connection.disconnect(nowait=True)
            return answers + [error] * (len(commands) - len(answers))
        finally:
            await self._pool.release(connection)

    async def _answer(self, connection: Any) -> Any:
        """Read one answer; what the server refused is an answer too, a lost connection is not."""
        try:
            return await connection.read_response(timeout=math.inf)
        except redis.exceptions.ResponseError as refusal:
            return refusal

    async def _on_connect(self, connection: Any) -> None:
        await connection.on_connect()
        await connection.send_packed_command(info.LIFE_QUESTION, check_health=False)
        self.run_id = info.life(await connection.read_response())


def _closed() -> Exception:
    return redis.exceptions.ConnectionError("the connection to the store was closed")
