"""People by the tokens of their identity provider: for whom an agent acts, and never who acts (`TRAPS.md` 12)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from broker.errors import InvalidRequest
from broker.identity.jwks import FollowedKeys, KeySource
from broker.identity.openid import OpenIdClaims
from broker.identity.platforms import is_of_workload
from scopes import jose, strict_json
from scopes.clock import Clock
from scopes.errors import InvalidDocument

MAX_SUBJECT = 255
"""The most characters of a `sub` (OpenID Connect Core §2)."""

MAX_GROUPS = 200
"""The most groups of a user: as many as Entra ID writes into a token. Who is in more gets a token that does not name them."""

MAX_GROUP = 255
"""The most characters of a group; each is kept with each task, and seen by policies."""

_TYPES: frozenset[str | None] = frozenset({"jwt", "at+jwt", None})

# Each makes it something else than the user's own token, which whoever was given it may show.
_NOT_THEIR_OWN = {
    "act": "somebody acts for the user with it already (RFC 8693 §4.1)",
    "cnf": "it is bound to a key, so to show it proves nothing (RFC 7800 §3)",
    "events": "it is a message about the user, such as a logout token (RFC 8417 §2.2)",
}
# What Entra ID and Auth0 write into the tokens of applications that act for nobody.
_OF_APPLICATIONS = {"idtyp": "app", "gty": "client-credentials"}


class _MayAct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may act for the user (RFC 8693 §4.4). With more than a `sub` it is not clear whom it means, so it is refused."""

    sub: str


class _Claims(OpenIdClaims, frozen=True, omit_defaults=True):
    """What is read of a user's token: to whom it was issued is `azp` in OpenID Connect and `client_id` in RFC 9068.

    `elsewhere` names claims that are not in the token, because they would be too long (OpenID Connect Core §5.6.2).
    """

    azp: str | msgspec.UnsetType = msgspec.UNSET
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    may_act: _MayAct | msgspec.UnsetType = msgspec.UNSET
    elsewhere: dict[str, str] = msgspec.field(name="_claim_names", default_factory=dict)

    @property
    def authorized_party(self) -> str | None:
        """To whom it was issued; raises `InvalidDocument` where two are named, or one without a name."""
        parties = {party for party in (self.azp, self.client_id) if party is not msgspec.UNSET}
        if len(parties) > 1 or "" in parties:
            raise InvalidDocument("azp and client_id do not name one client")
        return next(iter(parties), None)


class TrustedUsers(NamedTuple):
    """An identity provider whose word on people counts, for one audience. `groups` is the path of the claim with the groups."""

    name: str
    issuer: str
    audience: str
    keys: KeySource
    groups: str


class User(NamedTuple):
    """A person, as `<trust name>:<sub>`. `expires` is when what they showed does, in seconds.

    `authorized_party` is to whom the token was issued, and `may_act` who may act for them by its own word, where it says so.
    """

    id: str
    groups: tuple[str, ...]
    expires: int
    authorized_party: str | None = None
    may_act: str | None = None

    @property
    def trust(self) -> str:
        """The name of the trust that vouches for them."""
        return trust_of(self.id)


def trust_of(user: str) -> str:
    """Return the name of the trust that vouches for a user, by their id."""
    return user.partition(":")[0]


_Place = tuple[str, tuple[str, ...]]
"""An issuer and the audiences of its tokens, by which they are told apart."""


class Users(FollowedKeys):
    """Reads the tokens of users. Who shows one is not the user, and proves nothing by it about themselves."""

    def __init__(self, trusts: Iterable[TrustedUsers], *, clock: Clock) -> None:
        self._trusts: dict[_Place, TrustedUsers] = {(trust.issuer, (trust.audience,)): trust for trust in trusts}
        super().__init__((trust.name, trust.keys) for trust in self._trusts.values())
        self._clock = clock

    def authenticate(self, unverified_token: str) -> User:
        """Return whose token it is; raise `InvalidRequest` for what is no user's token for us (RFC 8693 §2.2.2)."""
        try:
            return self._verified(unverified_token)
        except InvalidDocument as error:
            raise InvalidRequest(f"the subject token is not accepted: {error}") from None

    def _verified(self, unverified_token: str) -> User:
        jws = jose.read(unverified_token, types=_TYPES)
        trust = self._trust(jws.unverified_payload)
        if trust.keys.keys.get(jws.unverified_header.kid) is None:
            trust.keys.wake()
        payload = jws.verified_payload(trust.keys.keys)
        claims = strict_json.decode(payload, type=_Claims, max_bytes=jose.MAX_TOKEN_BYTES)
        claims.check(trust.audience, now=self._clock.now().wall)
        document = strict_json.decode(payload, type=dict[str, Any], max_bytes=jose.MAX_TOKEN_BYTES)
        _check_own(document)
        _check_person(claims, document)
        groups = _groups(document, trust.groups, elsewhere=claims.elsewhere)
        may_act = claims.may_act.sub if claims.may_act else None
        return User(f"{trust.name}:{claims.sub}", groups, claims.exp, claims.authorized_party, may_act)

    def _trust(self, unverified_payload: bytes) -> TrustedUsers:
        """Return whose keys to use, which stands in the token itself; all else waits until its signature is checked."""
        unverified_claims = strict_json.decode(unverified_payload, type=OpenIdClaims, max_bytes=jose.MAX_TOKEN_BYTES)
        trust = self._trusts.get((unverified_claims.iss, unverified_claims.audiences))
        if trust is None:
            raise InvalidDocument("no [[trust.users]] has its issuer with its audience, alone")
        return trust


def _check_own(document: Mapping[str, Any]) -> None:
    for name, said in _NOT_THEIR_OWN.items():
        if name in document:
            raise InvalidDocument(said)


def _check_person(claims: _Claims, document: Mapping[str, Any]) -> None:
    """Raise `InvalidDocument` for the token of a workload or an application: for those nobody acts."""
    if not 0 < len(claims.sub) <= MAX_SUBJECT or not claims.sub.isascii():
        raise InvalidDocument(f"its subject is not 1 to {MAX_SUBJECT} ASCII characters")
    of_application = any(document.get(name) == value for name, value in _OF_APPLICATIONS.items())
    # An application that acts for nobody is its own subject (RFC 9068 §2.2).
    if of_application or claims.sub == claims.authorized_party or is_of_workload(document):
        raise InvalidDocument("it is the token of a workload or an application, and no person's")


def _groups(document: Mapping[str, Any], path: str, *, elsewhere: Iterable[str]) -> tuple[str, ...]:
    found = list(_at(document, path))
    if any(f"{path}/".startswith(f"{name}/") for name in elsewhere):
        raise InvalidDocument("the user is in more groups than it names: have it name fewer")
    if not found:
        return ()
    groups = found[0]
    if len(found) > 1 or not isinstance(groups, list) or len(groups) > MAX_GROUPS or not all(map(_is_group, groups)):
        raise InvalidDocument(f"{path} is not a list of up to {MAX_GROUPS} groups, each a text of 1 to {MAX_GROUP} characters")
    return tuple(sorted(set(groups)))


def _is_group(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_GROUP and value.isprintable()


def _at(document: Mapping[str, Any], path: str) -> Iterator[Any]:
    """Yield what stands at a path; what is inside an object has the names from the outside in, with `/` between them."""
    for name, value in document.items():
        if name == path:
            yield value
        elif isinstance(value, dict) and path.startswith(f"{name}/"):
            yield from _at(value, path.removeprefix(f"{name}/"))
