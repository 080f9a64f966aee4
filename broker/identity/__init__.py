"""Who is calling: assertions that nobody has checked become workloads."""

from broker.identity.identities import Identities
from broker.identity.presented import Presented
from broker.identity.spiffe import JwtSvids, TrustDomain

__all__ = ["Identities", "JwtSvids", "Presented", "TrustDomain"]
