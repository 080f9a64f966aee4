"""Tokens as an agent holds them: one for each scope, asked for when it is needed, and again shortly before it expires."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scopes.clock import Clock, Instant

MARGIN = 10_000
"""The milliseconds before its end at which a token is not used any more, so that it does not expire on its way."""

_SHARE = 5
"""A token keeps at least all but a fifth of its life, however short that is."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was issued. `expires` is seconds since the Unix epoch, by this machine's clock. Never shows its text.

    One that is `bound` works only with proofs of the key it was asked for with. `certificate` is the thumbprint of the one that
    was shown for it, and that it may be bound to.
    """

    text: str = field(repr=False)
    scope: str
    expires: int
    lease_id: str
    task_id: str
    bound: bool = False
    certificate: str | None = None


Wanted = tuple[str, int | None]
"""A scope and the seconds asked for, where any were."""

Ask = Callable[[str, int | None], Awaitable[Token]]


class _Place:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.token: Token | None = None
        self.asked = Instant(0, 0)


class Tokens:
    """The tokens of one task."""

    def __init__(self, ask: Ask, *, clock: Clock, can_use: Callable[[Token], bool]) -> None:
        self._ask = ask
        self._can_use = can_use
        self._clock = clock
        self._places: dict[Wanted, _Place] = {}

    async def get(self, scope: str, ttl: int | None = None) -> Token:
        """Return a token that is still good for a moment; those who want the same at once wait for one answer."""
        place = self._places.setdefault((scope, ttl), _Place())
        async with place.lock:
            if place.token is None or not self._is_good(place.token, place.asked):
                place.asked = self._clock.now()
                place.token = await self._ask(scope, ttl)
            return place.token

    def drop(self, token: Token) -> None:
        """Forget a token that a service refused; a newer one stays."""
        for place in self._places.values():
            if place.token is token:
                place.token = None

    def _is_good(self, token: Token, asked: Instant) -> bool:
        lifetime = token.expires * 1000 - asked.wall
        if not self._can_use(token):
            return False
        return self._clock.now().since(asked) < lifetime - min(MARGIN, lifetime // _SHARE)
