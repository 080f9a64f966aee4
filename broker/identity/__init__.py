"""Who is calling: assertions that nobody has checked become workloads."""

from broker.identity.bundle_file import BundleFile
from broker.identity.claimed import UnverifiedNames, unverified_names
from broker.identity.identities import Identities
from broker.identity.presented import AssertionType, Presented
from broker.identity.private_key import PrivateKeys
from broker.identity.spiffe import JwtSvids
from broker.identity.trust_domain import TrustDomain, TrustDomains
from broker.identity.x509 import Intermediates, X509Svids

__all__ = [
    "AssertionType",
    "BundleFile",
    "Identities",
    "Intermediates",
    "JwtSvids",
    "Presented",
    "PrivateKeys",
    "TrustDomain",
    "TrustDomains",
    "UnverifiedNames",
    "X509Svids",
    "unverified_names",
]
