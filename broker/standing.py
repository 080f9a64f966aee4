"""Who may act at all, before anything is decided: needs no store."""

import datetime

from broker.errors import UnauthorizedClient
from broker.registry.registry import Agent
from scopes.clock import Clock


def status(agent: Agent, today: datetime.date) -> str:
    """Return where the agent stands in its life: `declared`, `active` or `ended`."""
    if agent.record.missing:
        return "declared"
    return "ended" if agent.record.ends is None or agent.record.ends < today else "active"


class Standing:
    """Checks agents against their records and the date."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def today(self) -> datetime.date:
        """Return the date in UTC, in which end dates are meant."""
        return datetime.datetime.fromtimestamp(self._clock.now().wall / 1000, tz=datetime.UTC).date()

    def check(self, agent: Agent) -> Agent:
        """Return an agent that is active; raise `UnauthorizedClient` for any other."""
        where = status(agent, self.today())
        if where == "declared":
            missing = ", ".join(agent.record.missing)
            raise UnauthorizedClient(f"{agent.name} is declared only: its record lacks {missing}", reason="agent_declared")
        if where == "ended":
            raise UnauthorizedClient(f"{agent.name} is past its end date", reason="agent_ended")
        return agent
