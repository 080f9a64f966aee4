"""Who is calling: assertions that nobody has checked become workloads.

What needs the store is not named here, for commands that need none import this room: `private_key.PrivateKeys`.
"""

from broker.identity import jwks
from broker.identity.bundle_file import BundleFile
from broker.identity.claimed import UnverifiedNames, unverified_names
from broker.identity.identities import Identities
from broker.identity.jwks import FetchedKeys, JwksFile, KeySource
from broker.identity.oidc import OidcTokens, TrustedIssuer
from broker.identity.platforms import PLATFORMS, PlatformName
from broker.identity.presented import AssertionType, Presented
from broker.identity.spiffe import JwtSvids
from broker.identity.token_review import TokenReview
from broker.identity.trust_domain import TrustDomain, TrustDomains
from broker.identity.users import TrustedUsers, User, Users
from broker.identity.x509 import Intermediates, X509Svids

__all__ = [
    "PLATFORMS",
    "AssertionType",
    "BundleFile",
    "FetchedKeys",
    "Identities",
    "Intermediates",
    "JwksFile",
    "JwtSvids",
    "KeySource",
    "OidcTokens",
    "PlatformName",
    "Presented",
    "TokenReview",
    "TrustDomain",
    "TrustDomains",
    "TrustedIssuer",
    "TrustedUsers",
    "UnverifiedNames",
    "User",
    "Users",
    "X509Svids",
    "jwks",
    "unverified_names",
]
