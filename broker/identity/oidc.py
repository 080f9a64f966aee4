"""Workloads by the OpenID Connect tokens of their platform: Kubernetes, GitHub, GitLab, and others."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from broker.errors import InvalidClient
from broker.identity.jwks import FollowedKeys, KeySource
from broker.identity.openid import OpenIdClaims
from broker.identity.platforms import Platform, check_workload, flattened
from broker.identity.token_review import Reviewed, TokenReview
from broker.workload import Workload
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument

_TYPES: frozenset[str | None] = frozenset({"jwt", None})


class TrustedIssuer(NamedTuple):
    """One platform whose word counts. `require` are claims that every token of a workload has, by path.

    `review` asks the platform itself about each token, where there is one to ask.
    """

    name: str
    issuer: str
    audience: str
    platform: Platform
    keys: KeySource
    require: Mapping[str, str]
    review: TokenReview | None = None


class OidcTokens(FollowedKeys):
    """Authenticates workloads by their platform's tokens. A token is not single-use: its owner shows it while it lives."""

    def __init__(self, trusts: Iterable[TrustedIssuer], *, clock: Clock) -> None:
        self._trusts = tuple(trusts)
        super().__init__((trust.name, trust.keys) for trust in self._trusts)
        self._issuers = frozenset(trust.issuer for trust in self._trusts)
        self._clock = clock

    def knows(self, issuer: str | None) -> bool:
        """Tell whether a token of this issuer would be looked at."""
        return issuer in self._issuers

    async def authenticate(self, unverified_token: str) -> Workload:
        """Return the workload; raise `InvalidClient`, or `Unavailable` where a review is wanted and nobody can be asked."""
        try:
            trust, workload = self._verify(unverified_token)
        except InvalidDocument as error:
            raise InvalidClient(f"the workload's token is not accepted: {error}") from None
        if trust.review is not None:
            account = workload.claims["kubernetes.io/serviceaccount/uid"]
            await trust.review.check(unverified_token, Reviewed(workload.claims["sub"], account))
        return workload

    def _verify(self, unverified_token: str) -> tuple[TrustedIssuer, Workload]:
        jws = jose.read(unverified_token, types=_TYPES)
        unverified_claims = strict_json.decode(jws.unverified_payload, type=OpenIdClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        # Whose keys to use stands in the token itself; all else waits until its signature is checked.
        trust = self._signer(jws, [trust for trust in self._trusts if trust.issuer == unverified_claims.iss])
        payload = jws.verified_payload(trust.keys.keys)
        claims = strict_json.decode(payload, type=OpenIdClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        claims.check(trust.audience, now=self._clock.now().wall)
        document = strict_json.decode(payload, type=dict[str, Any], max_bytes=jose.MAX_TOKEN_BYTES)
        return trust, _workload(trust, claims, document)

    def _signer(self, jws: jose.UnverifiedJws, candidates: list[TrustedIssuer]) -> TrustedIssuer:
        """Return the one trust whose key signed: clusters share the text of their issuer, and never a key (`TRAPS.md` 10)."""
        if not candidates:
            raise InvalidDocument("its issuer is not one that is trusted")
        holders = [trust for trust in candidates if trust.keys.keys.get(jws.unverified_header.kid) is not None]
        if not holders:
            for trust in candidates:
                trust.keys.wake()
            raise InvalidDocument("signed with a key that is not known")
        # An issuer that publishes another's key id under a key of its own gains nothing, and hinders nobody.
        signers = [trust for trust in holders if _is_signed_by(jws, trust)]
        if len(signers) > 1:
            raise InvalidDocument("two issuers of this name have its key, so it could mean two workloads")
        return (signers or holders)[0]


def _is_signed_by(jws: jose.UnverifiedJws, trust: TrustedIssuer) -> bool:
    try:
        jws.verified_payload(trust.keys.keys)
    except InvalidDocument:
        return False
    return True


def _workload(trust: TrustedIssuer, claims: OpenIdClaims, document: dict[str, Any]) -> Workload:
    found = flattened(document)
    check_workload(trust.platform, document, found)
    other = [path for path, value in trust.require.items() if found.get(path) != value]
    if other:
        raise InvalidDocument(f"it is not the token of a workload: {', '.join(other)} is not as every workload here has it")
    return Workload(
        f"{trust.name}:{claims.sub}",
        claims.exp,
        source="oidc",
        instance=_instance(trust, found),
        claims=found,
    )


def _instance(trust: TrustedIssuer, claims: Mapping[str, str]) -> str | None:
    path, kind = trust.platform.instance or ("", "")
    value = claims.get(path)
    return f"{trust.name}:{kind}/{value}" if value else None
