"""SPIFFE JWT-SVIDs, checked against the bundle of the trust domain that `sub` names (SPIFFE JWT-SVID §3, §4)."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from broker.errors import ConfigurationError, InvalidClient
from broker.spiffe_id import trust_domain
from broker.workload import Workload
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.keys import SVID_ALGORITHMS, KeySet

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


class TrustDomain:
    """One trust domain with its bundle in a file, which is read again when it changes."""

    def __init__(self, name: str, bundle: Path) -> None:
        """Read the bundle; raise `ConfigurationError` if it cannot be used."""
        self.name = name
        self._bundle = bundle
        self._stamp = self._modified()
        self._keys = self._read()

    @property
    def keys(self) -> KeySet:
        """The JWT authorities in force. A changed file that cannot be read leaves the last good ones."""
        stamp = self._modified()
        if stamp != self._stamp:
            try:
                self._keys = self._read()
                self._stamp = stamp
            except ConfigurationError:
                return self._keys
        return self._keys

    def _modified(self) -> int:
        try:
            return self._bundle.stat().st_mtime_ns
        except OSError:
            return 0

    def _read(self) -> KeySet:
        try:
            keys = KeySet.parse(self._bundle.read_bytes(), algorithms=SVID_ALGORITHMS, use="jwt-svid")
        except (OSError, InvalidDocument) as error:
            raise ConfigurationError([f"{self._bundle}: not a usable bundle of {self.name}: {error}"]) from None
        if not len(keys):
            raise ConfigurationError([f"{self._bundle}: has no key with use = jwt-svid"])
        return keys


class JwtSvids:
    """Authenticates workloads by their JWT-SVIDs. An SVID is not single-use: its owner shows it while it lives."""

    def __init__(self, trust_domains: Iterable[TrustDomain], *, audience: str, clock: Clock) -> None:
        self._trust_domains = {domain.name: domain for domain in trust_domains}
        self._audience = audience
        self._clock = clock
        self._remembered: dict[bytes, tuple[Workload, KeySet]] = {}

    def authenticate(self, unverified_assertion: str) -> Workload:
        """Return the workload that the assertion proves; raise `InvalidClient` for anything else."""
        digest = hashlib.sha256(unverified_assertion.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered.get(digest)
        now = self._clock.now().wall
        if known is not None and self._is_good(*known, now):
            return known[0]
        try:
            workload, keys = self._verify(unverified_assertion, now)
        except InvalidDocument as error:
            raise InvalidClient(f"the assertion is not accepted: {error}") from None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[digest] = (workload, keys)
        return workload

    def _is_good(self, workload: Workload, keys: KeySet, now: int) -> bool:
        domain = self._trust_domains.get(trust_domain(workload.id) or "")
        return domain is not None and domain.keys is keys and now < workload.expires * 1000

    def _verify(self, unverified_assertion: str, now: int) -> tuple[Workload, KeySet]:
        jws = jose.read(unverified_assertion, types=_TYPES)
        # Which bundle to use stands in the assertion itself, so its subject has to be read before it is verified; all else
        # waits until it is.
        unverified_claims = strict_json.decode(jws.unverified_payload, type=_SvidClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        domain = self._trust_domains.get(trust_domain(unverified_claims.sub) or "")
        if domain is None:
            raise InvalidDocument("its subject is not a workload of a trusted domain")
        keys = domain.keys
        claims = strict_json.decode(jws.verified_payload(keys), type=_SvidClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        self._check(claims, now)
        return Workload(claims.sub, claims.exp), keys

    def _check(self, claims: _SvidClaims, now: int) -> None:
        audience = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if audience != (self._audience,):
            raise InvalidDocument(f"its audience has to be {self._audience} and nothing else")
        if not 0 <= claims.exp < 2**40 or now >= claims.exp * 1000:
            raise InvalidDocument("it has expired")
        if max(claims.iat or 0, claims.nbf or 0) * 1000 > now + MAX_SKEW * 1000:
            raise InvalidDocument("it is from the future")
