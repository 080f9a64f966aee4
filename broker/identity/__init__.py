"""Who is calling: assertions that nobody has checked become workloads."""

from broker.identity.bundle_file import BundleFile
from broker.identity.identities import Identities
from broker.identity.presented import Presented
from broker.identity.spiffe import JwtSvids
from broker.identity.trust_domain import TrustDomain

__all__ = ["BundleFile", "Identities", "JwtSvids", "Presented", "TrustDomain"]
