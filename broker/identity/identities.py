"""Who is calling, whatever they prove it by: one way in for every kind of identity."""

from typing import TYPE_CHECKING

from broker.errors import InvalidClient, InvalidGrant
from broker.identity.claimed import unverified_names
from broker.identity.oidc import OidcTokens
from broker.identity.presented import AssertionType, Presented
from broker.identity.spiffe import JwtSvids
from broker.identity.x509 import X509Svids
from broker.workload import Workload

if TYPE_CHECKING:
    from broker.identity.private_key import PrivateKeys


class Identities:
    """Authenticates workloads. What proves nothing, or could mean two things, is refused."""

    def __init__(self, *, svids: JwtSvids, certificates: X509Svids, oidc: OidcTokens, private_keys: "PrivateKeys") -> None:
        self._svids = svids
        self._oidc = oidc
        self._certificates = certificates
        self._private_keys = private_keys

    async def authenticate(self, presented: Presented) -> Workload:
        """Return the workload that was proven; raise `InvalidClient` where none was, `Unavailable` where nobody can say."""
        certified = self._certificates.authenticate(presented.unverified_chain) if presented.unverified_chain else None
        if presented.unverified_assertion is not None:
            return _bound(await self._asserted(presented.unverified_assertion, presented.type), certified)
        if certified is not None:
            return certified
        if presented.untrusted:
            raise InvalidClient(f"{presented.untrusted} counts from trusted proxies only, and this is none")
        raise InvalidClient("prove who you are: send your assertion, or use mutual TLS")

    async def _asserted(self, unverified_assertion: str, type: AssertionType | None) -> Workload:
        if type == "jwt-spiffe":
            return self._svids.authenticate(unverified_assertion)
        if type == "grant":
            return await self._granted(unverified_assertion)
        claimed = unverified_names(unverified_assertion)
        if type is None and claimed.is_spiffe:
            return self._svids.authenticate(unverified_assertion)
        if self._oidc.knows(claimed.iss):
            return await self._oidc.authenticate(unverified_assertion)
        return await self._private_keys.authenticate(unverified_assertion)

    async def _granted(self, unverified_assertion: str) -> Workload:
        # As a grant it is no authentication of a client, and has another error (RFC 7523 §3.1).
        try:
            return await self._oidc.authenticate(unverified_assertion)
        except InvalidClient as error:
            raise InvalidGrant(str(error)) from None


def _bound(workload: Workload, certified: Workload | None) -> Workload:
    """Return the workload that an assertion proves, with the certificate it came with (RFC 8705 §4)."""
    if certified is None:
        return workload
    if certified.id != workload.id:
        raise InvalidClient("the assertion and the certificate are of different workloads")
    return workload._replace(certificate=certified.certificate, expires=min(workload.expires, certified.expires))
