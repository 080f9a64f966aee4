"""Who may act at all, and how far, before anything is decided: needs no store."""

import datetime
from functools import lru_cache

from broker.errors import AccessDenied, BrokerError, UnauthorizedClient
from broker.feed import acts
from broker.feed.acts import Acts, Target
from broker.registry.registry import Agent
from broker.workload import Workload
from scopes.clock import Clock
from scopes.levels import Level, is_above

_DAY = 86_400_000


def status(agent: Agent, today: datetime.date, known: Acts) -> str:
    """Return where the agent stands in its life: `declared`, `active`, `ended`, `suspended` or `retired`.

    What an operator did comes first; the record and the date say the rest.
    """
    life = acts.life(known, "agent", agent.name)
    if life is not None:
        return life
    if agent.record.missing:
        return "declared"
    return "ended" if agent.record.ends is None or agent.record.ends < today else "active"


class Standing:
    """Checks agents against their records, the date, and what operators did."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def today(self) -> datetime.date:
        """Return the date in UTC, in which end dates are meant."""
        return _date(self._clock.now().wall // _DAY)

    def check(self, agent: Agent, workload: Workload, known: Acts) -> Agent:
        """Return an agent that is active, and so is this instance of it; raise `UnauthorizedClient` for any other."""
        where = status(agent, self.today(), known)
        if where == acts.RETIRED:
            raise UnauthorizedClient(f"{agent.name} is retired, and that is for good", reason="agent_retired")
        if where == acts.SUSPENDED:
            raise UnauthorizedClient(f"{agent.name} is suspended until an operator resumes it", reason="agent_suspended")
        if where == "declared":
            missing = ", ".join(agent.record.missing)
            raise UnauthorizedClient(f"{agent.name} is declared only: its record lacks {missing}", reason="agent_declared")
        if where == "ended":
            raise UnauthorizedClient(f"{agent.name} is past its end date", reason="agent_ended")
        _check_instance(agent, workload, known)
        return agent


def is_review_overdue(agent: Agent, today: datetime.date) -> bool:
    """Tell whether somebody should have looked at the agent again by now; nothing is refused for that."""
    review_by = agent.record.review_by
    return review_by is not None and review_by < today


def end_of_last_day(agent: Agent) -> int:
    """Return when the agent's last day is over, in milliseconds; 0, so the past, where it has none."""
    return _end_of(agent.record.ends) if agent.record.ends is not None else 0


@lru_cache(maxsize=1024)
def _date(number: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(number * _DAY / 1000, tz=datetime.UTC).date()


@lru_cache(maxsize=1024)
def _end_of(day: datetime.date) -> int:
    begins = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
    return int(begins.timestamp()) * 1000 + _DAY


def _check_instance(agent: Agent, workload: Workload, known: Acts) -> None:
    if any(acts.life(known, "instance", name) for name in workload.names):
        raise UnauthorizedClient(
            f"this instance of {agent.name} is suspended until an operator resumes it", reason="instance_suspended"
        )


def check_reductions(known: Acts, agent: str, workload: Workload, *, service: str, level: Level) -> tuple[str, ...]:
    """Return how far what is asked for is reduced; raise `UnauthorizedClient` or `AccessDenied` for what does not pass.

    There may be a reduction on everything, on the agent, on this instance of it, and on the service; each of them counts.
    """
    instances = (f"instance {name}" for name in workload.names)
    found = set()
    for target in (acts.ALL, f"agent {agent}", *instances, f"resource {service}"):
        act = known.get(target)
        to = acts.reduction(act) if act is not None else None
        if act is not None and to is not None:
            _check_reduction(target, to, act.event.above, level)
            found.add(to)
    return tuple(sorted(found))


def _check_reduction(target: Target, to: str, above: str | None, level: Level) -> None:
    if to == acts.PAUSED:
        raise _paused(target)
    if to == "approval":
        raise AccessDenied(f"{target} is reduced to what a person approves", reason="approval_required")
    if above is None or is_above(level, above):
        raise AccessDenied(f"{target} is reduced to {to}, and this is {level}", reason="reduced")


def _paused(target: Target) -> BrokerError:
    said = f"{target} is paused until an operator restores it"
    is_caller = target.startswith(("agent ", "instance "))
    return UnauthorizedClient(said, reason="paused") if is_caller else AccessDenied(said, reason="paused")
