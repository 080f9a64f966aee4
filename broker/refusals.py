"""How often agents were refused lately: recorded with each refusal, and a fact for policies to see."""

from broker.audit import Audit, Record
from broker.store import Store, key, shard_of
from scopes.clock import Clock

LATELY = 600_000
"""The milliseconds for which a refusal counts as recent."""

MOST = 101
"""How many recent refusals of an agent are kept: one more than policies tell apart (`policy.facts.REFUSALS`)."""

REMEMBERED = 1_000
"""The milliseconds for which a worker remembers a count."""

_MOST_AGENTS = 10_000


class Refusals:
    """Records refusals, and counts those of the last ten minutes."""

    def __init__(self, store: Store, *, audit: Audit, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock
        self._refused = store.script("broker", "refused")
        self._known: dict[str, tuple[int, int]] = {}

    async def record(self, record: Record) -> None:
        """Write the record and count it, in one step; raise `Unavailable` if that is not certain."""
        if record.agent is None:
            await self._audit.append(record)
            return
        shard = shard_of(record.agent)
        keys = [key(shard, "audit"), key(shard, "refusals", record.agent)]
        await self._store.run(self._refused, keys, [self._audit.encode(record), LATELY, MOST])

    async def recent(self, agent: str) -> int:
        """Return how often the agent was refused in the last ten minutes, at most a second ago; raise `Unavailable`."""
        now = self._clock.now().wall
        count, counted = self._known.get(agent, (0, 0))
        if 0 <= now - counted < REMEMBERED:
            return count
        count = int(await self._store.call("ZCOUNT", key(shard_of(agent), "refusals", agent), f"({now - LATELY}", "+inf"))
        if len(self._known) >= _MOST_AGENTS:
            self._known.clear()
        self._known[agent] = (count, now)
        return count
