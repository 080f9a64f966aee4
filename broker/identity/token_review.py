"""Asks a Kubernetes cluster about each token: offline, that of a deleted pod would be believed until it expires."""

import asyncio
import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from broker.errors import FetchFailed, InvalidClient, Unavailable
from broker.outbound import MAX_BYTES, Outbound
from scopes import strict_json
from scopes.clock import Clock, Instant
from scopes.errors import InvalidDocument

REMEMBERED_FOR = 3.0
"""The seconds for which a good answer counts: an agent that asks for several tokens at once is one question."""

MAX_REMEMBERED = 10_000
PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class Reviewed(NamedTuple):
    """Whom a token names: what the cluster says has to be the same."""

    username: str
    uid: str


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    audiences: tuple[str, ...] = ()
    user: _User = _User()


class _Answer(msgspec.Struct, frozen=True):
    kind: str
    status: _Status


class TokenReview:
    """One cluster's API server (Kubernetes authentication.k8s.io/v1)."""

    def __init__(self, server: str, *, audience: str, token: Path, outbound: Outbound, clock: Clock) -> None:
        """Ask `server` with the token in the file `token`, which is read each time, for the cluster renews it."""
        self._url = server.rstrip("/") + PATH
        self._audience = audience
        self._token = token
        self._outbound = outbound
        self._clock = clock
        self._remembered: dict[bytes, tuple[Reviewed, Instant]] = {}

    async def check(self, token: str, named: Reviewed) -> None:
        """Raise `InvalidClient` unless the cluster vouches for the token now, `Unavailable` where it cannot be asked."""
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock.now()
        known = self._remembered.get(digest)
        if known is not None and known[0] == named and now.since(known[1]) < REMEMBERED_FOR * 1000:
            return
        self._judge(await asyncio.to_thread(self._ask, token), named)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        # From before it was asked: what was true while it was answered is not newer than that.
        self._remembered[digest] = (named, now)

    def _ask(self, token: str) -> _Status:
        spec = {"token": token, "audiences": [self._audience]}
        question = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            own = self._token.read_text(encoding="ascii").strip()
            answer = self._outbound.post(self._url, msgspec.json.encode(question), bearer=own)
            return strict_json.decode(answer, type=_Answer, max_bytes=MAX_BYTES).status
        except (OSError, UnicodeDecodeError, InvalidDocument, FetchFailed):
            # Without what failed: it may quote the token. Who watches sees it in the cluster.
            raise Unavailable("the cluster could not be asked about the workload's token; ask again", retry_after=1) from None

    def _judge(self, status: _Status, named: Reviewed) -> None:
        if not status.authenticated:
            raise InvalidClient("the workload's token is not accepted: its cluster does not vouch for it any more")
        if status.audiences != (self._audience,) or Reviewed(status.user.username, status.user.uid) != named:
            raise InvalidClient("the workload's token is not accepted: its cluster says it is another")
