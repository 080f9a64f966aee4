"""Who is calling, whatever they prove it by: one way in for every kind of identity."""

from broker.errors import InvalidClient
from broker.identity.presented import Presented
from broker.identity.spiffe import JwtSvids
from broker.workload import Workload


class Identities:
    """Authenticates workloads. What proves nothing, or could mean two things, is refused."""

    def __init__(self, *, svids: JwtSvids) -> None:
        self._svids = svids

    async def authenticate(self, presented: Presented) -> Workload:
        """Return the workload that was proven; raise `InvalidClient` where none was."""
        if presented.unverified_assertion is None:
            raise InvalidClient("prove who you are: send your assertion")
        return self._svids.authenticate(presented.unverified_assertion)
