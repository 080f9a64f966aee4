"""The `[[trust.oidc]]` and `[[trust.users]]` of the settings: whose word counts about workloads, and whose about people.

Both are checked, and made into what authenticates.
"""

import ssl
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from broker import outbound
from broker.errors import ConfigurationError
from broker.identity import (
    PLATFORMS,
    FetchedKeys,
    JwksFile,
    KeySource,
    PlatformName,
    TokenReview,
    TrustedIssuer,
    TrustedUsers,
    jwks,
)
from broker.outbound import Outbound
from broker.workload import PRIVATE_KEY
from scopes.clock import Clock
from scopes.scope import is_name

REVIEW_TIMEOUT = 2.0
"""The seconds a cluster has to answer; an agent waits for it."""

# What stands before the ids of other workloads; a trust of such a name could make theirs.
_TAKEN = frozenset({"spiffe", PRIVATE_KEY})

At = Callable[[str], Path]
"""Returns where a configured path is."""


class OidcReview(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Kubernetes API server that is asked about each token. `ca` and `token` are files."""

    server: str
    ca: str
    token: str


class IssuerTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An OpenID issuer. Its keys are in the file `jwks`, at `jwks_uri`, or where it says itself.

    `ca` is a file of authorities for these addresses.
    """

    name: str
    issuer: str
    jwks: str | None = None
    jwks_uri: str | None = None
    ca: str | None = None
    allow_private_addresses: bool = False

    def keys(self, at: At, clock: Clock) -> KeySource:
        """Return where its keys come from; raise `ConfigurationError` for a file that cannot be used."""
        if self.jwks is not None:
            return JwksFile(at(self.jwks))
        tls = _trusting(at(self.ca)) if self.ca is not None else None
        way = Outbound(allow_private_addresses=self.allow_private_addresses, tls=tls)
        fetch = jwks.at(self.jwks_uri, way) if self.jwks_uri is not None else jwks.discovered(self.issuer, way)
        return FetchedKeys(self.name, fetch, clock=clock)


class OidcTrust(IssuerTrust, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A platform whose tokens say who a workload is.

    `require` and `identified_by` are for generic issuers: claims that every token of a workload has, and those that tell
    workloads apart. Without an `audience` it is the broker's issuer.
    """

    platform: PlatformName
    audience: str | None = None
    require: dict[str, str] = {}
    identified_by: tuple[str, ...] = ()
    token_review: OidcReview | None = None

    def trusted(self, *, issuer: str, at: At, clock: Clock) -> TrustedIssuer:
        """Return what authenticates by it; raise `ConfigurationError` for a file that cannot be used."""
        audience = self.audience or issuer
        return TrustedIssuer(
            name=self.name,
            issuer=self.issuer,
            audience=audience,
            platform=PLATFORMS[self.platform],
            keys=self.keys(at, clock),
            require=self.require,
            review=self._review(audience, at, clock) if self.token_review is not None else None,
        )

    def _review(self, audience: str, at: At, clock: Clock) -> TokenReview:
        review = self.token_review
        assert review is not None
        way = Outbound(
            allow_private_addresses=self.allow_private_addresses, tls=_trusting(at(review.ca)), timeout=REVIEW_TIMEOUT
        )
        return TokenReview(review.server, audience=audience, token=at(review.token), outbound=way, clock=clock)


class UserTrust(IssuerTrust, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An identity provider whose tokens for this `audience` say who a person is; `groups` is the path of a claim of theirs."""

    audience: str
    groups: str = "groups"

    def trusted(self, *, at: At, clock: Clock) -> TrustedUsers:
        """Return what authenticates by it; raise `ConfigurationError` for a file that cannot be used."""
        return TrustedUsers(self.name, self.issuer, self.audience, self.keys(at, clock), self.groups)


def problems_of(
    oidc: Sequence[OidcTrust], users: Sequence[UserTrust], *, domains: Collection[str], issuer: str
) -> Iterator[str]:
    """Yield everything that is wrong with these trusts, beside trust domains of these names, at the broker of this issuer."""
    trusts: list[OidcTrust | UserTrust] = [*oidc, *users]
    names = Counter(trust.name for trust in trusts)
    for trust in trusts:
        where = f"trust.{'oidc' if isinstance(trust, OidcTrust) else 'users'}.{trust.name}"
        if not is_name(trust.name) or trust.name in {*_TAKEN, *domains} or names[trust.name] > 1:
            yield f"{where}: name has to be a small letter and at most 62 of a-z, 0-9, _ and -, and of this trust only"
        yield from (f"{where}.{problem}" for problem in _problems(trust))
    yield from _ambiguous(oidc, users, issuer)


def _ambiguous(oidc: Sequence[OidcTrust], users: Sequence[UserTrust], issuer: str) -> Iterator[str]:
    """Yield trusts whose tokens could be taken for those of another: a person's never say who an agent is, nor the reverse."""
    places = Counter((trust.issuer, trust.jwks, trust.jwks_uri) for trust in oidc)
    for trust in oidc:
        if places[trust.issuer, trust.jwks, trust.jwks_uri] > 1:
            said = "another trust has its issuer and its keys; clusters with one issuer need jwks of their own"
            yield f"trust.oidc.{trust.name}: {said}"
    of_workloads = {(trust.issuer, trust.audience or issuer) for trust in oidc}
    of_people = Counter((trust.issuer, trust.audience) for trust in users)
    for person in users:
        where, place = f"trust.users.{person.name}", (person.issuer, person.audience)
        if place in of_workloads or of_people[place] > 1:
            yield f"{where}: another trust has its issuer and audience; a token has to be either a person's or a workload's"
        if person.issuer == issuer:
            yield f"{where}.issuer: is this broker, whose tokens are no person's"


def _problems(trust: OidcTrust | UserTrust) -> Iterator[str]:
    parts = urlsplit(trust.issuer)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        yield "issuer: has to be https://HOST…, exactly as it stands in the tokens"
    if trust.audience == "":
        yield "audience: is empty"
    if trust.jwks is not None and trust.jwks_uri is not None:
        yield "jwks: goes without jwks_uri; the keys come from one place"
    yield from _address("jwks_uri", trust.jwks_uri, trust)
    if isinstance(trust, OidcTrust):
        yield from _review(trust)
        yield from _claims(trust)
    elif not trust.groups:
        yield "groups: is empty; it is the path of a claim, like groups or realm_access/roles"


def _address(key: str, url: str | None, trust: IssuerTrust) -> Iterator[str]:
    problem = outbound.problem_of(url, allow_private_addresses=trust.allow_private_addresses) if url is not None else ""
    if problem:
        yield f"{key}: {problem}"


def _review(trust: OidcTrust) -> Iterator[str]:
    if trust.token_review is None:
        return
    yield from _address("token_review.server", trust.token_review.server, trust)
    if trust.platform != "kubernetes":
        yield "token_review: is for Kubernetes only"


def _claims(trust: OidcTrust) -> Iterator[str]:
    if trust.platform == "generic" and not (trust.require and trust.identified_by):
        yield "require and identified_by: a generic issuer needs both: what only workloads have, and what tells them apart"
    if trust.platform != "generic" and (trust.require or trust.identified_by):
        yield "require and identified_by: are for generic issuers; what this platform's tokens have is known"
    if "" in trust.require or "" in trust.require.values() or "" in trust.identified_by:
        yield "require and identified_by: hold an empty text"


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        # What is no certificate is one as well.
        raise ConfigurationError([f"{ca}: not a usable file of authorities: {error.strerror or error}"]) from None
