"""Has the issuer count a use of a token before it is made: exactly once, also where answers are lost (`TRAPS.md` 15a)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

import httpx2
import msgspec

from scopes.clock import Clock, Instant
from scopes.errors import AlreadyUsed, Denied, Expired, InvalidToken, Revoked, Unconfirmed, VerificationError

PATH = "/v1/leases/consume"

PATIENCE = 5_000
"""The milliseconds after which the issuer is not asked again: whoever sent the request waits as long."""

_TIMEOUT = 2.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 1.0
_SPREAD = 0.25
_MAX_ANSWER = 65_536
_TOO_MANY = 429
_FAILED = 500

Sleep = Callable[[float], Awaitable[object]]


class Consumable:
    """A token that has to be consumed, as its grant carries it: it cannot be seen, compared, or written anywhere.

    All of them are equal, for it is the lease of a grant that says which token it is. One that was pickled comes back empty.
    """

    __slots__ = ("_token",)

    def __init__(self, token: str = "") -> None:
        self._token = token

    def reveal(self) -> str:
        """Return the token, to be sent to its issuer and nowhere else; empty where it was lost."""
        return self._token

    def __repr__(self) -> str:
        return "Consumable(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Consumable)

    def __hash__(self) -> int:
        return hash(Consumable)

    def __deepcopy__(self, _: object) -> "Consumable":
        return self

    def __reduce__(self) -> tuple[type["Consumable"], tuple[()]]:
        return Consumable, ()


class _Answer(msgspec.Struct, frozen=True):
    """All that is read of an answer: which use was counted, or the code of a refusal (RFC 9457)."""

    lease: str = ""
    use: str = ""
    code: str = ""


class _Lost(Exception):
    """No answer, or none that settles anything: the use may have been counted. `pause` is the seconds to wait."""

    def __init__(self, what: str, *, pause: float | None = None) -> None:
        super().__init__(what)
        self.pause = pause


class Consumption:
    """Asks one issuer. It keeps nothing between two calls, so threads, event loops and forked children may share it."""

    def __init__(
        self,
        *,
        issuer: str,
        client: Callable[[], httpx2.AsyncClient],
        headers: Callable[[], Mapping[str, str]],
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Speak through a `client` for each call; `headers` say who asks, and are wanted anew for each attempt."""
        self._url = f"{issuer}{PATH}"
        self._client = client
        self._headers = headers
        self._clock = clock
        self._sleep = sleep

    async def __call__(self, token: str, *, lease: str, use: str) -> None:
        """Return when the issuer has counted the use, now or before; raise the `VerificationError` that says why it has not.

        Answers that are lost are asked for again under the same `use`, which counts nothing twice.
        """
        began, failures = self._clock.now(), 0
        async with self._client() as client:
            while True:
                try:
                    return await self._ask(client, token, lease=lease, use=use)
                except _Lost as lost:
                    wait = lost.pause if lost.pause is not None else _delay(failures)
                    if not self._has_time(began, wait):
                        raise Unconfirmed(f"whether the issuer counted the use is not known: {lost}") from None
                failures += 1
                await self._sleep(wait)

    def _has_time(self, began: Instant, wait: float) -> bool:
        return self._clock.now().since(began) + wait * 1000 <= PATIENCE

    async def _ask(self, client: httpx2.AsyncClient, token: str, *, lease: str, use: str) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                status, headers, body = await self._send(client, token, use)
        except Exception as error:  # whatever it was, it is no answer; and its text can hold what was sent
            raise _Lost(f"no answer ({type(error).__name__})") from None
        if status == _TOO_MANY or status >= _FAILED:
            raise _Lost(f"it answered {status}", pause=_retry_after(headers))
        answer = _read(body)
        if (status, answer.lease, answer.use) == (200, lease, use):
            return
        raise _refusal(status, answer.code)

    async def _send(self, client: httpx2.AsyncClient, token: str, use: str) -> tuple[int, Mapping[str, str], bytes]:
        body = bytearray()
        asked = {"token": token, "use": use}
        async with client.stream("POST", self._url, json=asked, headers=dict(self._headers())) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:
                    return response.status_code, response.headers, b""
        return response.status_code, response.headers, bytes(body)


_REFUSALS: dict[tuple[int, str], tuple[type[VerificationError], str]] = {
    (409, "already_used"): (AlreadyUsed, "the token has been used as often as it may be"),
    (410, "revoked"): (Revoked, "the issuer has ended the token"),
    (410, "expired"): (Expired, "the token has expired"),
    (403, "access_denied"): (Denied, "the issuer does not let this service consume tokens"),
    (404, "not_found"): (InvalidToken, "the issuer knows no such token of this service"),
}


def _refusal(status: int, code: str) -> VerificationError:
    # By status and code together, so that what stands between us and the issuer is not taken for it.
    refusal, why = _REFUSALS.get((status, code), (Unconfirmed, f"the issuer did not count the use: it answered {status}"))
    return refusal(why)


def _read(body: bytes) -> _Answer:
    try:
        return msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError:
        return _Answer()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    if not text.isascii() or not text.isdecimal():
        return None
    # Those who were told the same second come back spread over a quarter of it.
    return max(float(text), _FIRST_DELAY) * random.uniform(1.0, 1.0 + _SPREAD)  # noqa: S311 - not a secret


def _delay(failures: int) -> float:
    longest = min(_FIRST_DELAY * 2 ** min(failures, 10), _LONGEST_DELAY)
    return random.uniform(longest / 2, longest)  # noqa: S311 - not a secret
