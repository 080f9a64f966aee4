"""Workloads without a platform that vouches for them, by the keys that the registry names (RFC 7523 §3)."""

from collections.abc import Callable

from broker.private_key_assertion import PrivateKeyAssertions
from broker.store import Store
from broker.workload import Workload, key_instance, key_workload
from scopes.clock import Clock
from scopes.keys import KeySet


class PrivateKeys:
    """Authenticates agents and services that sign each request; every key is an instance, so that one can be suspended."""

    def __init__(self, keys: Callable[[str], KeySet], *, store: Store, audience: str, clock: Clock) -> None:
        """Accept agents and services by the keys that `keys` returns for their names; none for a name that nobody has."""
        self._assertions = PrivateKeyAssertions(keys, store=store, audience=audience, clock=clock)

    async def authenticate(self, unverified_assertion: str) -> Workload:
        """Return the workload that signed, and spend the assertion; raise `InvalidClient`, or `Unavailable`."""
        name, kid, expires = await self._assertions.authenticate(unverified_assertion)
        return Workload(key_workload(name), expires, source="private-key", instance=key_instance(name, kid))
