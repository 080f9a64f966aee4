"""Which proofs were used: each is taken once, by this process, and by all of a service with a store that the service brings."""

import base64
import hashlib
import threading
from typing import Protocol

from scopes.clock import Instant
from scopes.errors import InvalidProof, ReplayUnknown
from scopes.forks import renew_in_child
from scopes.proof import MAX_LIFETIME, Proof

MAX_REMEMBERED = 200_000
"""How many proofs are remembered from one generation: 3,000 a second, in at most 20 MB."""

MAX_OF_ONE_KEY = 20_000
"""How many of them may be of one key: 300 a second, so that a holder who misbehaves locks nobody else out."""

# The store's clock is another than the one that says how long a proof is good, and may be wrong by this much (milliseconds).
_STORE_MARGIN = 60_000


class ReplayStore(Protocol):
    """Remembers proofs for all processes of a service, such as in its Redis or its database."""

    async def spend(self, id: str, until: int) -> bool:
        """Remember the id at least until this millisecond since the Unix epoch; return `False` if it is known already.

        To look and to remember is one atomic step. Whatever is raised refuses the request.
        """
        ...


class _Generation:
    """What was spent since it began. `latest` is the last moment at which any of it can be accepted."""

    __slots__ = ("began", "latest", "of_key", "spent")

    def __init__(self, began: Instant) -> None:
        self.began = began
        self.spent: set[bytes] = set()
        self.of_key: dict[str, int] = {}
        self.latest = 0


class Replays:
    """The proofs that this process has taken. Threads may share it.

    They are kept in two generations, each as long as a proof can be good. So what is forgotten with the older one is late; and
    what might have been forgotten is refused, should a clock be set back.
    """

    def __init__(self, now: Instant) -> None:
        self._present = _Generation(now)
        self._previous = _Generation(now)
        self._forgotten = 0
        self._lock = threading.Lock()
        renew_in_child(self)

    def spend(self, proof: Proof, now: Instant) -> None:
        """Take a proof; raise `InvalidProof` if it was taken before, `ReplayUnknown` if too many are to be remembered."""
        mark = _mark(proof)
        with self._lock:
            self._turn(now)
            present = self._present
            if proof.until <= self._forgotten or mark in present.spent or mark in self._previous.spent:
                raise InvalidProof("the proof was used before; make one for each request")
            count = present.of_key.get(proof.thumbprint, 0)
            if count >= MAX_OF_ONE_KEY or len(present.spent) >= MAX_REMEMBERED:
                raise ReplayUnknown("more proofs than can be remembered came within a minute; come back later")
            present.spent.add(mark)
            present.of_key[proof.thumbprint] = count + 1
            present.latest = max(present.latest, proof.until)

    def renew(self) -> None:
        """Unlock in a forked child what another thread of the parent may have locked."""
        self._lock = threading.Lock()

    def _turn(self, now: Instant) -> None:
        if now.since(self._present.began) >= MAX_LIFETIME:
            self._forgotten = max(self._forgotten, self._previous.latest)
            self._previous, self._present = self._present, _Generation(now)


async def spend_everywhere(store: ReplayStore, proof: Proof) -> None:
    """Take a proof in all processes; raise `InvalidProof` if any took it before, `ReplayUnknown` if the store does not say."""
    try:
        is_new = await store.spend(base64.urlsafe_b64encode(_mark(proof)).rstrip(b"=").decode(), proof.until + _STORE_MARGIN)
    except Exception as error:  # whatever it was: without an answer the proof may have been used
        raise ReplayUnknown(f"whether the proof was used before is not known ({type(error).__name__})") from None
    if is_new is not True:
        raise InvalidProof("the proof was used before; make one for each request")


def _mark(proof: Proof) -> bytes:
    # A hash, for a `jti` can be long and is of its maker's choice.
    return hashlib.sha256(f"{proof.thumbprint} {proof.id}".encode("utf-8", "surrogatepass")).digest()
