"""The use case of deciding again: after a change of registry or policies, what is live and would not be given now ends.

Leases are not read. Each of them names the class of those that were decided alike; a class is decided once, and ended by one
event. What was decided before the change and is written after it, the floors refuse (`DESIGN.md` 3.16).
"""

import asyncio
import logging
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from broker import metrics
from broker.active import Active, Rules
from broker.audit import Audit, Record
from broker.errors import AccessDenied, BrokerError, UnauthorizedClient
from broker.feed.event import GRACE, NewEvent
from broker.feed.follower import Follower
from broker.feed.log import Committed, Log
from broker.leases import DecisionClass, Leases, LiveClass
from broker.policy import Facts
from broker.policy.facts import TTLS, UNNAMED, band
from broker.registry import acting, ceiling
from broker.registry.registry import Agent, Entry, Registry
from broker.standing import end_of_last_day
from broker.store import Store, key
from broker.store.shards import SHARDS
from scopes import ulid
from scopes.clock import Clock
from scopes.scope import Resource, Scope, ScopePattern

PAGE = 200
"""How many classes are read at once, and ended at once."""

SHARDS_AT_ONCE = 8
"""In how many shards one worker decides at a time, so that it seldom waits for the store."""

STEP = 10
"""How many classes are decided before requests have their turn: about a millisecond, unless policies are many and new."""

CLAIM = 5_000
"""The milliseconds for which one worker decides in a shard; a worker that died is replaced then."""

NO_LONGER_GIVEN = "no_longer_given"
_LOG = logging.getLogger(__name__)


class _Verdict(NamedTuple):
    """Why a class is not given any more: by which policies, where it were policies. Still given, where `reason` is empty."""

    reason: str = ""
    policies: tuple[str, ...] = ()


class Redecision:
    """Decides live classes by the configuration in force, shard by shard. Every worker may, at once, and again."""

    def __init__(
        self, *, store: Store, log: Log, follower: Follower, leases: Leases, active: Active, audit: Audit, clock: Clock
    ) -> None:
        self._store = store
        self._log = log
        self._follower = follower
        self._leases = leases
        self._active = active
        self._audit = audit
        self._worker = ulid.new(clock.now().wall)
        self._done = ""
        self._turn = asyncio.Lock()

    async def decide_again(self) -> None:
        """End what the configuration in force would not give any more; raise `Unavailable`, and go on the next time."""
        activated, standpoint, rules = self._follower.activated, self._follower.standpoint(), self._active.rules
        mark = f"{standpoint.picture.epoch} {rules.activation}"
        if activated is None or not rules.activation == activated.id == standpoint.configuration or mark == self._done:
            return
        place, tried = Committed(activated.epoch, activated.seq), set[int]()
        while left := await self._undecided(mark):
            # Each worker begins elsewhere, so that they share the shards; what another is at is left to it.
            untried = [shard for shard in left if shard not in tried]
            if not untried or self._active.rules is not rules:
                return
            next_ones = random.sample(untried, min(SHARDS_AT_ONCE, len(untried)))
            await asyncio.gather(*(self._decide_shard(shard, rules, mark, place=place) for shard in next_ones))
            tried.update(next_ones)
        self._done = mark

    async def _undecided(self, mark: str) -> list[int]:
        marks = await asyncio.gather(*(self._store.call("GET", key(shard, "decided")) for shard in range(SHARDS)))
        undecided = [shard for shard, known in enumerate(marks) if known != mark.encode()]
        metrics.UNDECIDED.set(len(undecided))
        return undecided

    async def _decide_shard(self, shard: int, rules: Rules, mark: str, *, place: Committed) -> None:
        claim = key(shard, "deciding")
        if await self._store.call("SET", claim, self._worker, "NX", "PX", CLAIM) is None:
            return
        # Another may have come and gone since this one looked.
        if await self._store.call("GET", key(shard, "decided")) != mark.encode():
            # First, for what was decided before the change must not be written behind the back of whoever reads the classes.
            await self._leases.raise_floor(shard, *place)
            if await self._decide_pages(shard, rules, mark):
                await self._store.call("SET", key(shard, "decided"), mark)
        await self._store.call("DEL", claim)

    async def _decide_pages(self, shard: int, rules: Rules, mark: str) -> bool:
        """Decide the classes of a shard, page by page; tell whether all were, and nothing else came into force meanwhile."""
        after, count = 0, 1
        # The latest to expire first: what expires meanwhile moves nothing that was not read yet. What is given meanwhile, and
        # moves to the front, these rules gave.
        while after < count:
            count, found = await self._leases.live_classes(shard, after=after, most=PAGE)
            refused: list[tuple[LiveClass, _Verdict]] = []
            for first in range(0, len(found), STEP):
                judged = await self._judged(found[first : first + STEP], rules)
                if judged is None:
                    return False
                refused += judged
            await self._end(refused, rules, mark)
            after += PAGE
        return True

    async def _judged(self, found: Sequence[LiveClass], rules: Rules) -> list[tuple[LiveClass, _Verdict]] | None:
        """Return those of a step that are not given any more; `None` where something else came into force.

        Requests have their turn after each step of all shards together: they wait for one of them, not for one of each shard.
        Not in a thread: that would have them wait for the interpreter, five times as long.
        """
        async with self._turn:
            await asyncio.sleep(0)
            return _refused(found, rules) if self._active.rules is rules else None

    async def _end(self, refused: Sequence[tuple[LiveClass, _Verdict]], rules: Rules, mark: str) -> None:
        if not refused:
            return
        epoch = mark.partition(" ")[0]
        await self._log.append(epoch, [_event(live, mark) for live, _ in refused])
        await asyncio.gather(*(self._audit.append_end(_record(live, verdict, rules)) for live, verdict in refused))
        metrics.COMMITTED.labels("class").inc(len(refused))
        _LOG.info("%d decision classes are not given any more, and what they gave has ended", len(refused))


def _refused(found: Sequence[LiveClass], rules: Rules) -> list[tuple[LiveClass, _Verdict]]:
    judged = ((live, _judge(live, rules)) for live in found)
    return [(live, verdict) for live, verdict in judged if verdict.reason]


def _judge(live: LiveClass, rules: Rules) -> _Verdict:
    decided = live.decision_class
    facts = _facts(decided)
    if facts is None or not _may_act(live, facts, rules.registry) or not _is_inside(decided, facts, rules.registry):
        return _Verdict(NO_LONGER_GIVEN)
    moment = rules.policy.moment()
    if facts.user == UNNAMED and rules.policy.folder.kept.user_ids:
        # Policies look at who it is now, and the class does not say.
        return _Verdict(NO_LONGER_GIVEN)
    for record in _records(facts, rules):
        about = msgspec.structs.replace(facts, record=record)
        answer = rules.policy.answer(about, moment)
        if not answer.allowed:
            return _Verdict(answer.reason, answer.policies)
        if not _says_what_ends_it(decided, rules.policy.ends_of(about, moment)):
            return _Verdict(NO_LONGER_GIVEN)
    return _Verdict()


def _says_what_ends_it(decided: DecisionClass, ends: tuple[bool, tuple[str, ...]]) -> bool:
    """Tell whether its tokens say all that ends them by the rules in force: what they do not say would not end them."""
    on_taint, on_labels = ends
    return decided.ends_on_taint >= on_taint and set(decided.ends_on_labels).issuperset(on_labels)


def _facts(decided: DecisionClass) -> Facts | None:
    """Return what was seen; `None` where another version wrote it so that it cannot be decided again, and has to end."""
    try:
        return msgspec.json.decode(decided.facts, type=Facts)
    except msgspec.MsgspecError:
        return None


def _records(facts: Facts, rules: Rules) -> Iterator[str]:
    """Yield the records that the class can be about: where it does not say which one, each that policies name as well."""
    yield facts.record
    if "/" not in facts.record:
        yield from (record for record in sorted(rules.policy.folder.records) if record.startswith(f"{facts.record}/"))


def _may_act(live: LiveClass, facts: Facts, registry: Registry) -> bool:
    """Tell whether the agent is still there, by the same workload, may act like this, and will until the last lease is over."""
    decided, record = live.decision_class, registry.content.agents.get(facts.agent)
    try:
        acting.check(registry, decided.agents, decided.types, users=decided.users)
    except (AccessDenied, UnauthorizedClient):
        return False
    if record is None or record.missing:
        return False
    agent = Agent(facts.agent, record)
    return decided.binding in agent.workloads and live.expires <= end_of_last_day(agent)


def _is_inside(decided: DecisionClass, facts: Facts, registry: Registry) -> bool:
    """Tell whether the catalogue and the ceiling still are what they were for this class, or wider."""
    service, type, action = facts.place
    try:
        entry = registry.entry(Scope(Resource(service, type, ("-",)), action))
    except BrokerError:
        return False
    return _is_same(decided, facts, entry) and all(
        _allows(task_type, patterns, facts, (registry, entry))
        for task_type, patterns in zip(decided.types, decided.patterns, strict=True)
    )


def _is_same(decided: DecisionClass, facts: Facts, entry: Entry) -> bool:
    """Tell whether the catalogue's entry still makes the token that was given: no stricter one, and no other."""
    action, resource_type = entry.action, entry.resource_type
    return (
        (action.level, entry.service.audience) == (decided.level, decided.audience)
        and action.staleness >= decided.max_staleness
        and (action.is_single_use, action.max_uses) == (decided.single_use, decided.max_uses)
        and facts.ttl <= band(action.max_ttl, TTLS, beyond=TTLS[-1])
        and resource_type.fields.keys() >= set(facts.fields)
        and decided.untrusted >= resource_type.untrusted
        and (action.level != "read" or resource_type.classes_of(facts.fields) <= set(facts.labels))
    )


def _allows(task_type: str, patterns: tuple[str, ...], facts: Facts, known: tuple[Registry, Entry]) -> bool:
    """Tell whether what allowed the class in this task type still stands there, and still allows all its fields."""
    registry, entry = known
    before = {_without_fields(ScopePattern.parse(pattern)) for pattern in patterns}
    standing = [pattern for pattern in registry.patterns(task_type) if _without_fields(pattern) in before]
    return bool(standing) and not ceiling.beyond_patterns(facts.fields, standing, entry)


def _without_fields(pattern: ScopePattern) -> tuple[object, ...]:
    return pattern[:-1]


def _event(live: LiveClass, mark: str) -> NewEvent:
    # The same id whoever commits it, so that it is there once.
    id = f"evt_{ulid.derived(f'{mark} class {live.id}'.encode())}"
    audiences = (live.decision_class.audience,)
    return NewEvent(id=id, kind="class", until=live.expires + GRACE, value=live.id, audiences=audiences)


def _record(live: LiveClass, verdict: _Verdict, rules: Rules) -> Record:
    facts = _facts(live.decision_class)
    return Record(
        kind="class.ended",
        agent=facts.agent if facts is not None else None,
        scope=facts.action if facts is not None else None,
        selector=f"class:{live.id}",
        reason=verdict.reason,
        policies=verdict.policies,
        policy_version=rules.policy.version,
        epoch=live.decision_class.epoch,
    )
