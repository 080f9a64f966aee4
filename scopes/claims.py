"""What a token says, as frozen types: RFC 9068 claims, one RFC 9396 detail, and the lease behind it (`WIRE.md`)."""

import re
from typing import Any

import msgspec

from scopes import strict_json
from scopes.errors import InvalidDocument
from scopes.jose import MAX_TOKEN_BYTES
from scopes.levels import Level
from scopes.scope import Scope

TOKEN_TYPE = "at+jwt"  # noqa: S105 - the media type of RFC 9068 §2.1, not a secret
DETAIL_TYPE = "agent_broker_scope"
MAX_PATH = 4
"""The most tasks there can be from a root task to the one a token is for."""
MAX_ENDS_WITH = 24
"""The most events of others that a token can name: seven for each of the three tasks above its own, and room."""
_ENDS_WITH = re.compile(r"(?:lease|agent|instance|class|taint|key) .+")
MAX_LIFETIME = 3600
"""The most seconds from `iat` to `exp`: an event that ends many tokens is forgotten an hour and a minute after (`WIRE.md`)."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Whoever verifies has to know every constraint: a member that is not known is refused, never skipped."""


class Detail(_Strict, frozen=True):
    """The one object of `authorization_details` (RFC 9396 §2)."""

    type: str
    locations: tuple[str]
    identifier: str
    actions: tuple[str]
    datatypes: tuple[str, ...] | None = None


class Actor(_Strict, frozen=True):
    """The workload that acts for the subject (RFC 8693 §4.1); only the outermost counts for any decision."""

    sub: str
    act: "Actor | None" = None


class Confirmation(_Strict, frozen=True):
    """The key or certificate the token is bound to (RFC 7800 §3.1); exactly one member."""

    jkt: str | None = None
    x5t_s256: str | None = msgspec.field(name="x5t#S256", default=None)


class StatusListEntry(_Strict, frozen=True):
    """Where a verifier that is not ours looks the token up."""

    idx: int
    uri: str


class Status(_Strict, frozen=True):
    """The `status` claim of draft-ietf-oauth-status-list."""

    status_list: StatusListEntry


class LeaseClaims(_Strict, frozen=True):
    """What the token says about its lease, and with it all that can end it or limits its use.

    `ends_on_labels` names classes of data: it ends when any task of its tree is given to read one of them.
    `ends_with` names events, by kind and value, that end it beside its own: those of the lease that it was delegated from.
    """

    epoch: str
    position: int
    path: tuple[str, ...]
    level: Level
    max_staleness: int
    class_: str | None = msgspec.field(name="class", default=None)
    user: bool = False
    instance: str | None = None
    approval: str | None = None
    ends_on_taint: bool = False
    ends_on_labels: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    single_use: bool = False
    max_uses: int | None = None

    @property
    def uses(self) -> int | None:
        """How often the token may be used at most; `None` where nobody counts."""
        return 1 if self.single_use else self.max_uses


class Claims(_Strict, frozen=True):
    """The claims of an access token. Times are seconds since the Unix epoch."""

    iss: str
    sub: str
    client_id: str
    aud: str
    iat: int
    nbf: int
    exp: int
    jti: str
    txn: str
    scope: str
    authorization_details: tuple[Detail]
    lease: LeaseClaims
    act: Actor | None = None
    cnf: Confirmation | None = None
    status: Status | None = None

    @property
    def workload(self) -> str:
        """The workload that holds the token: the outermost actor, else the subject."""
        return self.act.sub if self.act is not None else self.sub


def detail_of(scope: Scope, audience: str) -> Detail:
    """Say a scope as an RFC 9396 object for the service of that audience."""
    return Detail(
        type=DETAIL_TYPE,
        locations=(audience,),
        identifier=str(scope.resource),
        actions=(scope.action,),
        datatypes=scope.fields,
    )


def decode(payload: bytes) -> tuple[Claims, Scope]:
    """Read verified bytes; raise `InvalidDocument` unless they are whole, sane and say one scope in both its spellings."""
    claims = strict_json.decode(payload, type=Claims, max_bytes=MAX_TOKEN_BYTES)
    try:
        scope = Scope.parse(claims.scope)
    except ValueError:
        raise InvalidDocument("the scope is not one") from None
    if str(scope) != claims.scope or claims.authorization_details != (detail_of(scope, claims.aud),):
        raise InvalidDocument("authorization_details and scope do not say the same")
    _check_lease(claims)
    return claims, scope


def encode(claims: Claims) -> bytes:
    """Write claims as JSON, absent members left out."""
    return msgspec.json.encode(claims)


def as_members(detail: Detail) -> dict[str, Any]:
    """Return the detail as JSON members, for answers that carry it beside the token."""
    members: dict[str, Any] = msgspec.to_builtins(detail)
    return members


def _check_lease(claims: Claims) -> None:
    lease = claims.lease
    if not 1 <= len(lease.path) <= MAX_PATH or lease.path[0] != claims.txn:
        raise InvalidDocument("the path of tasks does not start at the root task, or is too long")
    if not (0 <= claims.nbf <= claims.exp and 0 <= claims.iat <= claims.exp < 2**40):
        raise InvalidDocument("the times are not in order")
    if claims.exp - claims.iat > MAX_LIFETIME:
        raise InvalidDocument(f"meant to live longer than {MAX_LIFETIME} seconds")
    if lease.position < 0 or lease.max_staleness < 0 or (lease.max_uses is not None and lease.max_uses < 1):
        raise InvalidDocument("a number of the lease is out of its range")
    if len(lease.ends_with) > MAX_ENDS_WITH or not all(map(_ENDS_WITH.fullmatch, lease.ends_with)):
        raise InvalidDocument("it names too many or unknown kinds of events that end it")
    if claims.cnf is not None and (claims.cnf.jkt is None) == (claims.cnf.x5t_s256 is None):
        raise InvalidDocument("cnf has to name exactly one key or certificate")
