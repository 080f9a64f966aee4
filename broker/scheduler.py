"""Time: jobs of one line each. Every replica runs all of them; each may run twice, at once, or late (`DESIGN.md` I6)."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from broker.activation import Activation
from broker.endings import Endings
from broker.errors import Unavailable
from broker.issuer import Issuer
from broker.leases import Leases
from broker.leases.leases import SWEEP
from broker.redecision import Redecision
from broker.revocation import Revocation
from broker.rotation import Rotation
from broker.settling import Settling
from broker.store.shards import SHARDS
from broker.tasks import Tasks

_LOG = logging.getLogger(__name__)
_OFTEN, _SELDOM = 1, 30


class Scheduler:
    """Runs the broker's house-keeping. No token lives a second longer because a job is late."""

    def __init__(
        self,
        *,
        leases: Leases,
        tasks: Tasks,
        revocation: Revocation,
        endings: Endings,
        settling: Settling,
        issuer: Issuer,
        activation: Activation,
        rotation: Rotation,
        redecision: Redecision,
    ) -> None:
        self._leases = leases
        self._tasks = tasks
        self._revocation = revocation
        self._endings = endings
        self._settling = settling
        self._issuer = issuer
        self._activation = activation
        self._rotation = rotation
        self._decide_again = _patient(redecision.decide_again)
        self._scheduler = AsyncIOScheduler()

    def start(self) -> None:
        """Start the jobs in the running event loop. What was missed is done once, not as often as it was missed."""
        jobs: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.expire_leases, _OFTEN),
            (self._revocation.end_due_tasks, _OFTEN),
            (self._settling.settle, _OFTEN),
            (self._endings.try_again, _OFTEN),
            (self._endings.record_epochs, _OFTEN),
            (self._issuer.finish_undoing, _OFTEN),
            (self._activation.look, _OFTEN),
            (self._activation.record_owed, _OFTEN),
            (self._rotation.keep, _OFTEN),
            (self._decide_again, _OFTEN),
            (self.forget, _SELDOM),
        ]
        for job, seconds in jobs:
            self._scheduler.add_job(
                _patient(job),
                "interval",
                id=job.__name__,
                name=job.__name__,
                seconds=seconds,
                coalesce=True,
                # The second one finds the first still running and leaves off, without a word in the log.
                max_instances=2,
                misfire_grace_time=None,
            )
        self._scheduler.start()

    def decide_again_now(self) -> None:
        """Have what is live decided again at once, and not at the next turn; may be called from any thread."""
        if self._scheduler.running:
            # A job of its own, that runs once and at once: one that is moved into the past has every second since made up for.
            self._scheduler.add_job(self._decide_again, name="decide_again_now", misfire_grace_time=None)

    def close(self) -> None:
        """Stop the jobs."""
        self._scheduler.shutdown(wait=False)

    async def expire_leases(self) -> None:
        """Take leases whose time is over out of the live ones."""
        await _shard_by_shard(self._leases.expire)

    async def forget(self) -> None:
        """Forget leases, what they were decided on, and tasks, that ended long ago."""
        await _shard_by_shard(self._leases.forget)
        await _shard_by_shard(self._leases.forget_classes)
        await asyncio.gather(*(self._tasks.forget(shard) for shard in range(SHARDS)))


async def _shard_by_shard(sweep: Callable[[int], Awaitable[int]]) -> None:
    """Sweep each shard until it is done. One small step at a time: what others want of the store meanwhile comes in between."""
    for shard in range(SHARDS):
        while await sweep(shard) == SWEEP:
            pass


def _patient(job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    runs = False

    @functools.wraps(job)
    async def run() -> None:
        nonlocal runs
        if runs:
            return
        runs = True
        try:
            await job()
        except asyncio.CancelledError:
            _LOG.debug("%s is left off, for this worker stops", job.__name__)
        except Unavailable:
            _LOG.debug("%s waits for the store", job.__name__)
        except Exception:  # whatever it was: a job that raised once must run again the next time (TRAPS 24)
            _LOG.exception("%s failed and will run again", job.__name__)
        finally:
            runs = False

    return run
