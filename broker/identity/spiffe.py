"""SPIFFE JWT-SVIDs, checked against the bundle of the trust domain that `sub` names (SPIFFE JWT-SVID §3, §4)."""

import hashlib
from collections.abc import Iterable

import msgspec

from broker.errors import InvalidClient
from broker.identity.bundle import Bundle
from broker.identity.trust_domain import TrustDomain
from broker.spiffe_id import trust_domain
from broker.workload import Workload
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument

MAX_SKEW = 30
"""The seconds by which an assertion may be from the future (`DESIGN.md` 5); there is none on its expiry."""

MAX_REMEMBERED = 10_000
"""How many verified assertions are remembered; an agent shows the same one until it expires."""

_TYPES: frozenset[str | None] = frozenset({"jwt", "jose", None})


class _SvidClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims a JWT-SVID is accepted by; others are allowed and mean nothing here."""

    sub: str
    aud: str | tuple[str, ...]
    exp: int
    iat: int | None = None
    nbf: int | None = None


class JwtSvids:
    """Authenticates workloads by their JWT-SVIDs. An SVID is not single-use: its owner shows it while it lives."""

    def __init__(self, trust_domains: Iterable[TrustDomain], *, audience: str, clock: Clock) -> None:
        self._trust_domains = {domain.name: domain for domain in trust_domains}
        self._audience = audience
        self._clock = clock
        self._remembered: dict[bytes, tuple[Workload, Bundle]] = {}

    def authenticate(self, unverified_assertion: str) -> Workload:
        """Return the workload that the assertion proves; raise `InvalidClient` for anything else.

        Raises `Unavailable` where what would prove it is not known now.
        """
        digest = hashlib.sha256(unverified_assertion.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered.get(digest)
        now = self._clock.now().wall
        if known is not None and self._is_good(*known, now):
            return known[0]
        try:
            workload, bundle = self._verify(unverified_assertion, now)
        except InvalidDocument as error:
            raise InvalidClient(f"the assertion is not accepted: {error}") from None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[digest] = (workload, bundle)
        return workload

    def _is_good(self, workload: Workload, bundle: Bundle, now: int) -> bool:
        domain = self._trust_domains.get(trust_domain(workload.id) or "")
        return domain is not None and domain.bundle is bundle and now < workload.expires * 1000

    def _verify(self, unverified_assertion: str, now: int) -> tuple[Workload, Bundle]:
        jws = jose.read(unverified_assertion, types=_TYPES)
        # Which bundle to use stands in the assertion itself, so its subject has to be read before it is verified; all else
        # waits until it is.
        unverified_claims = strict_json.decode(jws.unverified_payload, type=_SvidClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        domain = self._trust_domains.get(trust_domain(unverified_claims.sub) or "")
        if domain is None:
            raise InvalidDocument("its subject is not a workload of a trusted domain")
        bundle = domain.known_bundle
        if bundle.jwt_authorities.get(jws.unverified_header.kid) is None:
            # The domain may have begun to sign with a new key.
            domain.source.wake()
        payload = jws.verified_payload(bundle.jwt_authorities)
        claims = strict_json.decode(payload, type=_SvidClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        self._check(claims, now)
        return Workload(claims.sub, claims.exp), bundle

    def _check(self, claims: _SvidClaims, now: int) -> None:
        audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if audience != (self._audience,):
            raise InvalidDocument(f"its audience has to be {self._audience} and nothing else")
        if not 0 <= claims.exp < 2**40 or now >= claims.exp * 1000:
            raise InvalidDocument("it has expired")
        if max(claims.iat or 0, claims.nbf or 0) * 1000 > now + MAX_SKEW * 1000:
            raise InvalidDocument("it is from the future")
