"""Workloads by the OpenID Connect tokens of their platform: Kubernetes, GitHub, GitLab, and others."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from broker.errors import InvalidClient
from broker.identity.jwks import KeySource
from broker.identity.platforms import Platform, check_workload, flattened
from broker.identity.token_review import Reviewed, TokenReview
from broker.workload import Workload
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument

MAX_SKEW = 30
"""The seconds by which a token may be from the future (`DESIGN.md` 5); there is none on its expiry."""

MAX_LIFETIME = 86_400
"""The seconds a token may live: a platform that gives longer ones has not been told to give short ones."""

_TYPES: frozenset[str | None] = frozenset({"jwt", None})


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every token has to have; what else there is, is read after the signature was checked."""

    iss: str
    sub: str
    aud: str | tuple[str, ...]
    exp: int
    iat: int
    nbf: int | None = None


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


class OidcTokens:
    """Authenticates workloads by their platform's tokens. A token is not single-use: its owner shows it while it lives."""

    def __init__(self, trusts: Iterable[TrustedIssuer], *, clock: Clock) -> None:
        self._trusts = tuple(trusts)
        self._issuers = frozenset(trust.issuer for trust in self._trusts)
        self._clock = clock

    def knows(self, issuer: str | None) -> bool:
        """Tell whether a token of this issuer would be looked at."""
        return issuer in self._issuers

    @property
    def notice(self) -> str:
        """What is wrong with the keys of any issuer; empty if nothing is."""
        problems = [(trust.name, trust.keys.problem) for trust in self._trusts]
        return "; ".join(f"keys of {name}: {problem}" for name, problem in problems if problem)

    @property
    def are_unknown(self) -> bool:
        """Tell whether no issuer's keys are known, so that no token proves anything now."""
        return not any(len(trust.keys.keys) for trust in self._trusts)

    def start(self) -> None:
        """Begin to follow the keys of every issuer."""
        for trust in self._trusts:
            trust.keys.start()

    def close(self) -> None:
        """End following them."""
        for trust in self._trusts:
            trust.keys.close()

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
        unverified_claims = strict_json.decode(jws.unverified_payload, type=_Claims, max_bytes=jose.MAX_TOKEN_BYTES)
        # Whose keys to use stands in the token itself; all else waits until its signature is checked.
        trust = self._signer(jws, [trust for trust in self._trusts if trust.issuer == unverified_claims.iss])
        payload = jws.verified_payload(trust.keys.keys)
        claims = strict_json.decode(payload, type=_Claims, max_bytes=jose.MAX_TOKEN_BYTES)
        self._check(claims, trust)
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

    def _check(self, claims: _Claims, trust: TrustedIssuer) -> None:
        now = self._clock.now().wall
        audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if audience != (trust.audience,):
            raise InvalidDocument(f"its audience has to be {trust.audience} and nothing else")
        if not 0 <= claims.exp < 2**40 or now >= claims.exp * 1000:
            raise InvalidDocument("it has expired")
        if not 0 <= claims.exp - claims.iat <= MAX_LIFETIME:
            raise InvalidDocument(f"it may live {MAX_LIFETIME} seconds at most; ask the platform for a shorter one")
        if max(claims.iat, claims.nbf or 0) * 1000 > now + MAX_SKEW * 1000:
            raise InvalidDocument("it is from the future")
        if not claims.sub.isprintable():
            raise InvalidDocument("its subject is no text")


def _is_signed_by(jws: jose.UnverifiedJws, trust: TrustedIssuer) -> bool:
    try:
        jws.verified_payload(trust.keys.keys)
    except InvalidDocument:
        return False
    return True


def _workload(trust: TrustedIssuer, claims: _Claims, document: dict[str, Any]) -> Workload:
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
