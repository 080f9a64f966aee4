"""The rules in force: a registry and the policies that were validated against it, replaced only together."""

from typing import NamedTuple

from broker.errors import Unavailable
from broker.feed.follower import Standpoint
from broker.policy import Policy
from broker.registry.registry import Registry


class Rules(NamedTuple):
    """One registry with its policies; nothing of it changes. `activation` is the id under which it came into force."""

    registry: Registry
    policy: Policy
    activation: str

    def check_in_force(self, standpoint: Standpoint) -> None:
        """Raise `Unavailable` where something else is in force at this standpoint, or it is not known what."""
        if self.activation != standpoint.configuration:
            raise pending()


class Active:
    """Holds the rules in force. Whoever decides reads them once, and decides on what it read."""

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules

    @property
    def rules(self) -> Rules:
        """The rules that this worker decides by; raise `Unavailable` while it has none."""
        if self._rules is None:
            raise pending()
        return self._rules

    @property
    def activation(self) -> str:
        """The id of what this worker decides by; empty for nothing."""
        return self._rules.activation if self._rules is not None else ""

    def check_same(self, rules: Rules) -> None:
        """Raise `Unavailable` unless the rules are still these: who was authenticated by others may be nobody by now."""
        if self._rules is not rules:
            raise pending()

    def replace(self, rules: Rules) -> None:
        """Have the next request decided by other rules."""
        self._rules = rules


def pending() -> Unavailable:
    """Return the refusal of a worker that does not have the configuration in force."""
    said = "another configuration came into force than this worker decides by; ask again"
    return Unavailable(said, reason="configuration_pending", retry_after=1)
