"""One connection to one server for one thread."""

from typing import Any

import redis

from broker.store import info
from broker.store.confirmation import NOBODY, Confirmation


class SyncLine:
    """Asks one thing at a time. A new connection reads first which life of the server it speaks to."""

    def __init__(self, pool: redis.ConnectionPool, *, confirmation: Confirmation = NOBODY, run_id: str | None = None) -> None:
        """Speak through the one connection of `pool`; `run_id` is the life of a store that has no server."""
        self._pool = pool
        self._confirmation = confirmation
        self.run_id = run_id or ""
        if run_id is None:
            pool.connection_kwargs["redis_connect_func"] = self._on_connect

    def ask(self, key: str, packed: bytes, *, writes: bool) -> Any:
        """Return the answer, or the error in its place: of the connection, of the server, or of too few replicas."""
        if not writes or not self._confirmation.replicas:
            return self._send([packed])[0]
        # On the connection that wrote, or nothing would be confirmed.
        answer, *last = self._send([packed, *self._confirmation.questions(key)])
        return self._confirmation.judge(answer, last)

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def _send(self, commands: list[bytes]) -> list[Any]:
        try:
            connection = self._pool.get_connection()
        except (redis.exceptions.RedisError, OSError) as error:
            return [error] * len(commands)
        answers: list[Any] = []
        try:
            connection.send_packed_command(commands, check_health=False)  # type: ignore[no-untyped-call]
            while len(answers) < len(commands):
                answers.append(self._answer(connection))
            return answers
        except (redis.exceptions.RedisError, OSError) as error:
            connection.disconnect()  # type: ignore[no-untyped-call]
            return answers + [error] * (len(commands) - len(answers))
        finally:
            self._pool.release(connection)

    def _answer(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except redis.exceptions.ResponseError as refusal:
            return refusal

    def _on_connect(self, connection: Any) -> None:
        connection.on_connect()
        connection.send_packed_command([info.LIFE_QUESTION], check_health=False)
        self.run_id = info.life(connection.read_response())
