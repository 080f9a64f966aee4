"""Who is calling: assertions that nobody has checked become workloads."""

from broker.identity.bundle_file import BundleFile
from broker.identity.claimed import UnverifiedNames, unverified_names
from broker.identity.identities import Identities
from broker.identity.presented import AssertionType, Presented
from broker.identity.private_key import PrivateKeys
from broker.identity.spiffe import JwtSvids
from broker.identity.trust_domain import TrustDomain

__all__ = [
    "AssertionType",
    "BundleFile",
    "Identities",
    "JwtSvids",
    "Presented",
    "PrivateKeys",
    "TrustDomain",
    "UnverifiedNames",
    "unverified_names",
]
