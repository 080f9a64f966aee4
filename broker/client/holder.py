"""The key that an agent's tokens are bound to: proofs made with it (RFC 9449), and the nonces that servers want in them."""

from collections.abc import Generator

import httpx2

from broker.client.tokens import Token
from scopes import proof as proofs
from scopes.clock import Clock
from scopes.keys import SigningKey

PROOF_HEADER = "DPoP"
NONCE_HEADER = "DPoP-Nonce"

MAX_NONCES = 100
"""How many servers' nonces are remembered; beyond, the oldest is asked for again."""

_UNAUTHORIZED = 401


class Holder:
    """Holds a key and never shows it."""

    def __init__(self, key: SigningKey, *, clock: Clock) -> None:
        self._key = key
        self._clock = clock
        self._nonces: dict[str, str] = {}

    def prove(self, method: str, url: str, *, token: str | None = None) -> str:
        """Return a proof for one request, with the token it carries; make another for each, repetitions included."""
        nonce = self._nonces.get(_origin(httpx2.URL(url)))
        return proofs.make(self._key, method=method, url=url, now=self._clock.now().wall, token=token, nonce=nonce)

    def hear(self, response: httpx2.Response) -> bool:
        """Remember the nonce that a server gave (RFC 9449 §8.2); tell whether it is a new one."""
        nonce, origin = response.headers.get(NONCE_HEADER), _origin(response.request.url)
        if nonce is None or self._nonces.get(origin) == nonce:
            return False
        if origin not in self._nonces and len(self._nonces) >= MAX_NONCES:
            self._nonces.pop(next(iter(self._nonces)))
        self._nonces[origin] = nonce
        return True


class Bound(httpx2.Auth):
    """Sends a token with a proof of its key, and once more where the service gives a nonce for it (RFC 9449 §7.1, §9)."""

    def __init__(self, token: Token, holder: Holder, *, is_repeatable: bool) -> None:
        self._token = token
        self._holder = holder
        self._is_repeatable = is_repeatable

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Sign the request; with a new nonce, again."""
        self._sign(request)
        response = yield request
        if self._holder.hear(response) and response.status_code == _UNAUTHORIZED and self._is_repeatable:
            self._sign(request)
            yield request

    def _sign(self, request: httpx2.Request) -> None:
        request.headers["Authorization"] = f"{PROOF_HEADER} {self._token.text}"
        request.headers[PROOF_HEADER] = self._holder.prove(request.method, str(request.url), token=self._token.text)


class Bearer(httpx2.Auth):
    """Sends a token that is bound to nothing."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Show the token."""
        request.headers["Authorization"] = f"Bearer {self._token.text}"
        yield request


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
