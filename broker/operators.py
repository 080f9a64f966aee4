"""The people who operate the broker, and how they prove it: each request is signed by a key that the registry names."""

from collections.abc import Callable

from broker.private_key_assertion import PrivateKeyAssertions
from broker.store import Store
from scopes.clock import Clock
from scopes.keys import KeySet


class Operators:
    """Authenticates operators."""

    def __init__(self, keys: Callable[[str], KeySet], *, store: Store, audience: str, clock: Clock) -> None:
        """Accept operators by the keys that `keys` returns for their names; none for a name that is no operator's."""
        self._assertions = PrivateKeyAssertions(keys, store=store, audience=audience, clock=clock)

    async def authenticate(self, unverified_assertion: str) -> str:
        """Return the operator's name, and spend the assertion; raise `InvalidClient`, or `Unavailable` without a store."""
        return (await self._assertions.authenticate(unverified_assertion)).name
