"""The issuer's token keys as a verifier holds them: fetched in the background, kept through failures, never on request.

An unknown key id asks for a fetch and gets an answer without one, so that requests with invented key ids cost the issuer
at most one fetch in ten seconds (`TRAPS.md` 5).
"""

import logging
import random
from collections.abc import Callable

import httpx2

from scopes.background import Background
from scopes.clock import Clock, Instant
from scopes.errors import InvalidDocument
from scopes.keys import MAX_JWKS_BYTES, TOKEN_ALGORITHMS, KeySet, VerificationKey

REFRESH_INTERVAL = 300.0
"""The seconds between two fetches when all is well; an issuer publishes a key at least this long before it signs with it."""

MIN_INTERVAL = 10.0
"""The least seconds between two fetches, whoever asks."""

SPREAD = 2.0
"""The seconds over which verifiers spread a fetch that a new key has all of them want at the same moment."""

HARD_AGE = 24 * 3600 * 1000
"""The milliseconds for which keys are trusted though the issuer could not be asked again."""

_LOG = logging.getLogger(__name__)


class IssuerKeys:
    """Holds the newest key set that could be fetched."""

    def __init__(self, *, url: str, client: Callable[[], httpx2.Client], clock: Clock) -> None:
        self._url = url
        self._client = client
        self._clock = clock
        self._keys = KeySet()
        self._fetched: Instant | None = None
        self._attempted: Instant | None = None
        self._is_asked = False
        self._spread: tuple[Instant, float] | None = None
        self._background = Background("issuer-keys", self.refresh)

    def start(self) -> None:
        """Begin to fetch in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread."""
        self._background.stop()
        self._background.join()

    @property
    def keys(self) -> KeySet:
        """The newest key set; empty until the first fetch."""
        return self._keys

    def is_usable(self, now: Instant) -> bool:
        """Tell whether the key set is there and not older than its hard age."""
        return self._fetched is not None and now.since(self._fetched) <= HARD_AGE

    def find(self, kid: str) -> VerificationKey | None:
        """Return the key of this id; if it is not there, ask for a fetch and return `None`."""
        key = self._keys.get(kid)
        if key is None:
            self._is_asked = True
            self._background.wake()
        return key

    def refresh(self) -> float:
        """Fetch if the last attempt is long enough ago; return the seconds until the next one is wanted."""
        now = self._clock.now()
        if self._attempted is not None and now.since(self._attempted) < MIN_INTERVAL * 1000:
            return MIN_INTERVAL - now.since(self._attempted) / 1000
        early = self._early(now)
        if early > 0:
            return early
        self._attempted = now
        try:
            self._keys = self._fetch()
            self._fetched = now
        except (httpx2.HTTPError, InvalidDocument) as error:
            _LOG.warning("could not fetch %s, keeping the keys known: %s", self._url, told(error))
            return MIN_INTERVAL * random.uniform(1.0, 1.5) if self._fetched is not None else self._soon()  # noqa: S311
        # Spread over a tenth of the interval, so that verifiers started together do not fetch together for ever.
        return REFRESH_INTERVAL * random.uniform(0.9, 1.0)  # noqa: S311 - not a secret

    def _early(self, now: Instant) -> float:
        """Return for how many seconds more a fetch waits that an unknown key asked for; the regular ones are spread already."""
        if self._fetched is None or not self._is_asked:
            return 0.0
        # Drawn once: whoever asks again meanwhile waits for the same fetch.
        since, wait = self._spread = self._spread or (now, random.uniform(0.0, SPREAD))  # noqa: S311 - not a secret
        early = wait - now.since(since) / 1000
        if early <= 0:
            self._is_asked, self._spread = False, None
        return early

    def _soon(self) -> float:
        self._attempted = None
        return random.uniform(0.1, 0.5)  # noqa: S311 - not a secret

    def _fetch(self) -> KeySet:
        with self._client() as client, client.stream("GET", self._url) as response:
            response.raise_for_status()
            return KeySet.parse(read_bounded(response, MAX_JWKS_BYTES), algorithms=TOKEN_ALGORITHMS)


def read_bounded(response: httpx2.Response, max_bytes: int) -> bytes:
    """Read a body of at most `max_bytes`; raise `InvalidDocument` for a larger one without reading it all."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise InvalidDocument(f"the answer is larger than {max_bytes} bytes")
    return bytes(body)


def told(error: Exception) -> str:
    """Say what went wrong without quoting the request: an error of the HTTP library can hold its headers, so an identity."""
    if isinstance(error, httpx2.HTTPStatusError):
        return f"answered {error.response.status_code}"
    return str(error) if isinstance(error, InvalidDocument) else type(error).__name__
