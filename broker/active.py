"""The configuration in force: a registry and the policies that were validated against it, replaced only together."""

from typing import NamedTuple

from broker.policy import Policy
from broker.registry.registry import Registry


class Rules(NamedTuple):
    """One registry with its policies; nothing of it changes."""

    registry: Registry
    policy: Policy


class Active:
    """Holds the rules in force. Whoever decides reads them once, and decides on what it read."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    @property
    def rules(self) -> Rules:
        """The rules in force at this moment."""
        return self._rules
