"""Nonces of the broker: they show that a proof was not made long before (RFC 9449 §8). No nonce is kept anywhere."""

import base64
import hashlib
import hmac
import secrets

from broker.store import Store, feed_key
from scopes.clock import Clock

SLOT = 120_000
"""The milliseconds for which a new nonce is given out. It is accepted in the slot after as well: for two to four minutes.

Long enough that an agent which asks every minute always has a good one, short for a proof that somebody had signed beforehand.
"""

_KEY = feed_key("nonces")
_SECRET_BYTES = 32
_NONCE_BYTES = 16


class Nonces:
    """Gives out nonces and knows them again, on every worker: each is made from a secret that all share, and the time."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._share = store.script("broker.possession", "secret")
        self._secret = b""

    async def current(self) -> str:
        """Return the nonce to use now; raise `Unavailable` where the secret cannot be read."""
        if not self._secret:
            await self._load()
        return self._nonce(self._slot())

    async def knows(self, unverified_nonce: str | None) -> bool:
        """Tell whether the nonce was given out lately, by any worker; raise `Unavailable` where the secret cannot be read."""
        if unverified_nonce is None:
            return False
        if self._secret and self._is_ours(unverified_nonce):
            return True
        # The secret is another where the store lost it and another worker made it anew.
        await self._load()
        return self._is_ours(unverified_nonce)

    def _is_ours(self, unverified_nonce: str) -> bool:
        shown, slot = unverified_nonce.encode("utf-8", "surrogatepass"), self._slot()
        return any(hmac.compare_digest(shown, self._nonce(each).encode()) for each in (slot, slot - 1))

    async def _load(self) -> None:
        self._secret = await self._store.run(self._share, [_KEY], [secrets.token_hex(_SECRET_BYTES)])

    def _slot(self) -> int:
        return self._clock.now().wall // SLOT

    def _nonce(self, slot: int) -> str:
        digest = hmac.digest(self._secret, str(slot).encode(), hashlib.sha256)[:_NONCE_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
