"""A broker on several Redis servers, one of which fails while tokens are asked for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from broker import app, settings
from broker.app import Broker
from broker.callers import Caller
from broker.errors import Unavailable
from broker.exchange import TokenRequest
from broker.identity import Presented, development
from broker.issuer import Issued
from broker.selector import Selector
from scopes import claims as token_claims
from scopes.claims import TOKEN_TYPE
from scopes.clock import SystemClock
from scopes.jose import read
from scopes.scope import Scope
from tests.broker.world import BOT, ISSUER, REGISTRY, write_files
from tests.scopes.clocks import eventually

PATIENCE = 15
"""The seconds within which a failover has to be over, on a busy machine."""

_ASKING = 4


class Site:
    """One worker with its threads, on the store that `redis_url` names, as `broker serve` would connect it."""

    def __init__(self, folder: Path, redis_url: str, *, replicas_required: int = 0, registry: str = REGISTRY) -> None:
        write_files(folder, registry=registry)
        self.folder = folder
        configured = msgspec.structs.replace(
            settings.load(folder / "broker.toml", environment={}), redis_url=redis_url, replicas_required=replicas_required
        )
        self.broker = Broker(app.configure(configured), app.connect(configured), clock=SystemClock())
        self.issued: list[Issued] = []
        self.refused = 0
        self._asking: list[asyncio.Task[None]] = []

    async def issue(self, workload: str = BOT, **asked: Any) -> Issued:
        svid = development.sign_svid(self.folder / "keys" / "development", workload, audience=ISSUER, clock=SystemClock())
        return await self.broker.exchange(TokenRequest(Presented(svid), Scope.parse("crm:ticket/4711#read[subject]"), **asked))

    async def revoke(self, **selector: Any) -> int:
        revoked = await self.broker.revocation.revoke(Selector(**selector), "a test", Caller("Operator", "admin"))
        return revoked.seq

    @property
    def epoch(self) -> str:
        return self.broker.streams.picture.epoch

    def ask_all_the_time(self) -> None:
        """Ask for tokens until the site is closed, and count what comes back."""
        self._asking = [asyncio.create_task(self._ask()) for _ in range(_ASKING)]

    async def _ask(self) -> None:
        while True:
            try:
                self.issued.append(await self.issue())
            except Unavailable:
                self.refused += 1
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the worker's threads, or other processes, do."""
        await asyncio.to_thread(eventually, condition, within=PATIENCE)

    async def issues(self) -> Issued:
        """Ask until there is a token."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(Unavailable):
                    return await self.issue()
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        self.broker.follower.close()
        self.broker.watch.close()
        await self.broker.stores.shared.close()


@contextlib.asynccontextmanager
async def opened(folder: Path, redis_url: str, *, replicas_required: int = 0, registry: str = REGISTRY) -> AsyncIterator[Site]:
    """Open a site whose worker is ready."""
    site = Site(folder, redis_url, replicas_required=replicas_required, registry=registry)
    site.broker.follower.start()
    site.broker.watch.start()
    try:
        await site.issues()
        yield site
    finally:
        await site.close()


def epoch_of(issued: Issued) -> str:
    """Return the epoch of a token; verifiers take none of an epoch below the present one."""
    claims, _ = token_claims.decode(read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    return claims.lease.epoch
