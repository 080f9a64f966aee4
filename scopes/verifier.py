"""The verifier that a protected service embeds: offline, in process, and refusing what it cannot know."""

import functools
import hashlib
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

import httpx2

from scopes import claims as token_claims
from scopes import fields as granted_fields
from scopes import jose, ulid
from scopes.acknowledgements import Acknowledgements
from scopes.claims import TOKEN_TYPE, Claims
from scopes.clock import Clock, Instant, SystemClock
from scopes.constraints import CONSTRAINTS, COUNTED, Constraint, constraints_of
from scopes.consumption import Consumable, Consumption
from scopes.errors import (
    Denied,
    Expired,
    InvalidDocument,
    InvalidToken,
    ReplayUnknown,
    Revoked,
    Stale,
    Unavailable,
    Unconfirmed,
)
from scopes.feed import Feed
from scopes.grant import Grant
from scopes.holder import Shown, check_certificate, proven
from scopes.issuer_keys import IssuerKeys
from scopes.keys import VerificationKey
from scopes.replays import Replays, ReplayStore, spend_everywhere
from scopes.revocations import Picture, Revocable, revocable
from scopes.scope import Scope

LEEWAY = 5
"""The seconds by which a token may be from the future (`iat`, `nbf`). There is none on `exp`: late is late."""

MAX_VERIFIED = 10_000
"""How many verified tokens are remembered; beyond, the oldest are verified again."""

_TYPES: frozenset[str | None] = frozenset({TOKEN_TYPE, f"application/{TOKEN_TYPE}"})
_TIMEOUT = httpx2.Timeout(5.0)
_POLL = 0.01

Identity = Callable[[], str]
"""Returns the service's own workload assertion (a JWT-SVID); called anew each time it is shown, so it may rotate."""


class _Verified:
    """A token whose signature and form have been checked; what can change is checked at every use. Times are milliseconds."""

    __slots__ = (
        "certificate_thumbprint",
        "clean_at",
        "expires",
        "grant",
        "key",
        "key_thumbprint",
        "max_staleness",
        "not_before",
        "resource",
        "revocable",
        "unenforced",
    )

    def __init__(self, claims: Claims, scope: Scope, key: VerificationKey, *, token: str, without: Constraint | None) -> None:
        self.key = key
        self.revocable: Revocable = revocable(claims, scope, key.kid)
        self.resource = str(scope.resource)
        self.expires = claims.exp * 1000
        self.not_before = (max(claims.nbf, claims.iat) - LEEWAY) * 1000
        self.max_staleness = claims.lease.max_staleness * 1000
        self.key_thumbprint = claims.cnf.jkt if claims.cnf is not None else None
        self.certificate_thumbprint = claims.cnf.x5t_s256 if claims.cnf is not None else None
        self.unenforced = without
        # The place in the log up to which no event was found that ends it; the epoch is compared at every use.
        self.clean_at = -1
        self.grant = Grant(
            agent=claims.client_id,
            workload=claims.workload,
            user=claims.sub if claims.lease.user else None,
            task=claims.lease.path[-1],
            lease=claims.jti,
            scope=scope,
            level=claims.lease.level,
            expires=claims.exp,
            consumable=Consumable(token) if claims.lease.uses is not None else None,
        )


class Verifier:
    """Verifies the tokens of one issuer for one service. Threads of a process may share it; a fork renews its threads.

    The constructor starts three threads: they follow the revocation feed, acknowledge it, and keep the issuer's keys. `verify`
    never touches the network.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        identity: Identity | None = None,
        *,
        without: Collection[Constraint] = (),
        replay_store: ReplayStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Start following `issuer` for the service whose audience is `audience`; both are compared exactly.

        A token with a constraint that is named in `without` is refused, and the issuer is told that it is not enforced here;
        without an `identity` so it is with those that are counted at the issuer. With a `replay_store` a proof is taken once
        across all processes that share it, by `verify_once`.
        """
        self._issuer = issuer
        self._audience = audience
        self._identity = identity
        self._clock = clock or SystemClock()
        self._without = _not_enforced(without, can_consume=identity is not None)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._replays = Replays(self._clock.now())
        self._replay_store = replay_store
        self._keys = IssuerKeys(url=f"{issuer}/oauth/jwks.json", client=self._plain_client, clock=self._clock)
        self._acknowledgements = Acknowledgements(
            issuer=issuer,
            audience=audience,
            client=self._plain_client,
            headers=self._who,
            picture=lambda: self._feed.picture,
            enforces=tuple(name for name in CONSTRAINTS if name not in self._without),
            clock=self._clock,
        )
        self._consumption = Consumption(issuer=issuer, client=self._async_client, headers=self._who, clock=self._clock)
        self._feed = Feed(
            issuer=issuer,
            audience=audience,
            client=self._client,
            clock=self._clock,
            on_events=self._acknowledgements.wake,
        )
        self._keys.start()
        self._feed.start()
        self._acknowledgements.start()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the background threads; afterwards every answer is `Stale`, and the issuer is told that it is."""
        self._feed.close()
        self._feed.forget()
        self._acknowledgements.close()
        self._keys.close()

    def wait_until_ready(self, timeout: float = 5.0) -> None:
        """Wait until keys and revocations are known; raise `Stale` if they are not after `timeout` seconds.

        It also waits until the issuer has heard of this process, or cannot be told: it gives some tokens only then.
        """
        start = self._clock.now()
        while not (self.is_ready and self._acknowledgements.was_tried):
            if self._clock.now().since(start) > timeout * 1000:
                if self.is_ready:
                    return
                raise Stale(f"{self._issuer} could not be followed within {timeout:g} seconds")
            threading.Event().wait(_POLL)

    @property
    def is_ready(self) -> bool:
        """Tell whether keys and revocations are known; how fresh they have to be, each token says."""
        return not self._feed.picture.needs_snapshot and self._keys.is_usable(self._clock.now())

    @property
    def picture(self) -> Picture:
        """The revocations as this process knows them now."""
        return self._feed.picture

    def verify(
        self,
        unverified_token: str,
        *,
        action: str,
        resource: str,
        fields: Iterable[str] = (),
        proof: str | None = None,
        method: str = "",
        url: str = "",
        certificate: bytes | None = None,
    ) -> Grant:
        """Return what the token grants, or raise the `VerificationError` that says why it must not be honoured.

        `fields` are those the request touches, where it names any; one that is not granted is `Denied`. `proof` is the DPoP
        header of the request, with its `method` and its `url` as its sender wrote it; a token that is bound to a key needs one,
        and one that is not may not have one (RFC 9449 §7.1). A proof is taken once. `certificate` is what the client proved to
        hold in the TLS handshake, in DER: a token that is bound to one needs it (RFC 8705 §3). Does no I/O.
        """
        now = self._clock.now()
        token = self._good(unverified_token, now)
        check_certificate(token.certificate_thumbprint, certificate)
        if token.key_thumbprint is not None or proof is not None:
            taken = proven(token.key_thumbprint, unverified_token, Shown(proof, method, url), now)
            if self._replay_store is not None:
                raise ReplayUnknown("this service remembers proofs across its processes, which only `verify_once` can ask")
            self._replays.spend(taken, now)
        _check_scope(token, action, resource, fields)
        return token.grant

    async def verify_once(
        self,
        unverified_token: str,
        *,
        action: str,
        resource: str,
        fields: Iterable[str] = (),
        proof: str | None = None,
        method: str = "",
        url: str = "",
        certificate: bytes | None = None,
    ) -> Grant:
        """Do what `verify` does, and take the proof once across all processes that share the `replay_store`.

        Asks that store for each token that is bound to a key, and waits as long as it does. Without a store it is `verify`.
        """
        now = self._clock.now()
        token = self._good(unverified_token, now)
        check_certificate(token.certificate_thumbprint, certificate)
        if token.key_thumbprint is not None or proof is not None:
            taken = proven(token.key_thumbprint, unverified_token, Shown(proof, method, url), now)
            self._replays.spend(taken, now)
            if self._replay_store is not None:
                await spend_everywhere(self._replay_store, taken)
                # The answer may have taken a while, and in the meantime anything may have ended the token.
                self._check_still_good(token, self._clock.now())
        _check_scope(token, action, resource, fields)
        return token.grant

    async def consume(self, grant: Grant, use: str | None = None) -> None:
        """Have the issuer count a use of the grant's token, exactly once; return when what it grants may be done.

        A grant that needs no consuming is returned from at once. `use` is the caller's own id of what is about to be done, a
        ULID: with the same one the call can be repeated, and counts once. Without one each call is a use of its own. Where
        answers are lost the issuer is asked again, for five seconds. Raises `AlreadyUsed`, `Revoked`, `Expired`, `Denied`,
        `Unconfirmed` where it is not known whether the use was counted, or what `verify` raises by then.
        """
        if grant.consumable is None:
            return
        now, token = self._clock.now(), grant.consumable.reveal()
        use = ulid.new(now.wall) if use is None else use
        if not ulid.is_id(use, ""):
            raise ValueError("use has to be a ULID, such as scopes.ulid makes")
        if not token:
            raise Unconfirmed("a grant that was pickled cannot be consumed; use the one that verify returned")
        verified = self._good(token, now)
        await self._consumption(token, lease=grant.lease, use=use)
        # The answer may have taken a while, and in the meantime anything may have ended the token.
        self._check_still_good(verified, self._clock.now())

    def _good(self, unverified_token: str, now: Instant) -> _Verified:
        """Return a token of this issuer that is in force; all is checked but who holds it and what it is for."""
        if not self._feed.picture.epoch:
            raise Stale("no revocations are known yet")
        token = self._authentic(unverified_token, now)
        self._check_still_good(token, now)
        if token.unenforced is not None:
            raise Denied(f"the token is limited by {token.unenforced}, which this service does not enforce")
        return token

    def _check_still_good(self, token: _Verified, now: Instant) -> None:
        _check_time(token, now)
        _check_revocations(token, self._feed.picture, now)

    def _authentic(self, unverified_token: str, now: Instant) -> _Verified:
        if not self._keys.is_usable(now):
            raise Unavailable("the issuer's keys are not known, or were fetched too long ago")
        digest = hashlib.sha256(unverified_token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None and self._keys.keys.get(known.key.kid) is known.key:
            return known
        verified = self._verify_signature(unverified_token)
        self._remember(digest, verified)
        return verified

    def _verify_signature(self, unverified_token: str) -> _Verified:
        try:
            jws = jose.read(unverified_token, types=_TYPES)
            key = self._keys.find(jws.unverified_header.kid)
            payload = jws.verified_payload(self._keys.keys)
            claims, scope = token_claims.decode(payload)
        except InvalidDocument as error:
            raise InvalidToken(f"not a valid token: {error}") from None
        if key is None or claims.iss != self._issuer or claims.aud != self._audience:
            raise InvalidToken("a token of another issuer or for another service (RFC 8725 §3.8, §3.9)")
        return _Verified(claims, scope, key, token=unverified_token, without=_first_of(self._without, claims, scope))

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if len(self._verified) >= MAX_VERIFIED:
            # One indivisible step, where to look for the oldest and then drop it fails when threads do it together.
            self._verified.popitem(last=False)
        self._verified[digest] = verified

    def _who(self) -> dict[str, str]:
        # Stripped, because identities are read from files, and files end in a newline.
        return {"Authorization": f"Bearer {self._identity().strip()}"} if self._identity is not None else {}

    def _client(self) -> httpx2.Client:
        return httpx2.Client(headers=self._who(), timeout=_TIMEOUT, verify=_authorities())

    def _plain_client(self) -> httpx2.Client:
        return httpx2.Client(timeout=_TIMEOUT, verify=_authorities())

    def _async_client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(timeout=_TIMEOUT, verify=_authorities())


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Return whose certificates are believed. Read once: it takes tens of milliseconds, and every new stream would pay them."""
    return httpx2.create_ssl_context()


def _check_time(token: _Verified, now: Instant) -> None:
    if now.wall >= token.expires:
        raise Expired("the token has expired")
    if token.not_before > now.wall:
        raise InvalidToken("the token is from the future")


def _check_revocations(token: _Verified, picture: Picture, now: Instant) -> None:
    epoch = token.revocable.epoch
    if epoch < picture.epoch:
        raise Revoked("the token is from before the issuer's store was lost or restarted")
    if epoch == picture.epoch and token.clean_at != picture.seq:
        event = picture.ended_by(token.revocable)
        if event is not None:
            raise Revoked(f"the token was ended by the {event.kind} event {event.id}")
        token.clean_at = picture.seq
    if epoch > picture.epoch or not picture.is_fresh(now, bound=token.max_staleness):
        raise Stale("revocations are not known freshly enough for this token")


def _not_enforced(without: Collection[Constraint], *, can_consume: bool) -> frozenset[Constraint]:
    unknown = sorted(set(without) - set(CONSTRAINTS))
    if unknown:
        # What is misspelt here would be told to be enforced.
        raise ValueError(f"without: no constraint {unknown[0]!r}; there are {', '.join(CONSTRAINTS)}")
    return frozenset(without) if can_consume else frozenset(without) | COUNTED


def _first_of(without: frozenset[Constraint], claims: Claims, scope: Scope) -> Constraint | None:
    """Return a constraint of the token that is not enforced here: it would be honoured more widely than it says."""
    lease = claims.lease
    held = constraints_of(scope, claims.cnf, single_use=lease.single_use, max_uses=lease.max_uses)
    return next((constraint for constraint in held if constraint in without), None)


def _check_scope(token: _Verified, action: str, resource: str, fields: Iterable[str]) -> None:
    scope = token.grant.scope
    # As text: a scope has one spelling, so what is written otherwise is another resource, or none.
    if token.resource != resource or scope.action != action:
        raise Denied("the token grants another action or another resource")
    if scope.fields is not None:
        granted_fields.refuse(sorted(set(fields) - set(scope.fields)))
