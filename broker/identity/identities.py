"""Who is calling, whatever they prove it by: one way in for every kind of identity."""

from broker.errors import InvalidClient
from broker.identity.claimed import unverified_names
from broker.identity.presented import Presented
from broker.identity.private_key import PrivateKeys
from broker.identity.spiffe import JwtSvids
from broker.workload import Workload


class Identities:
    """Authenticates workloads. What proves nothing, or could mean two things, is refused."""

    def __init__(self, *, svids: JwtSvids, private_keys: PrivateKeys) -> None:
        self._svids = svids
        self._private_keys = private_keys

    async def authenticate(self, presented: Presented) -> Workload:
        """Return the workload that was proven; raise `InvalidClient` where none was, `Unavailable` where nobody can say."""
        unverified_assertion = presented.unverified_assertion
        if unverified_assertion is None:
            raise InvalidClient("prove who you are: send your assertion")
        if presented.type == "jwt-spiffe" or (presented.type is None and unverified_names(unverified_assertion).is_spiffe):
            return self._svids.authenticate(unverified_assertion)
        return await self._private_keys.authenticate(unverified_assertion)
