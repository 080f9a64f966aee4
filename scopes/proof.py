"""DPoP proofs (RFC 9449): a signed sentence that whoever sends this request holds a key. Made by clients, checked by servers.

A proof is for one method at one URL, for a minute, and with one access token where one is sent. What is checked here is the
proof itself. That it is not used twice, and that its key is the one a token is bound to, is for the caller to see to.
"""

import base64
import hashlib
import re
import secrets
from typing import NamedTuple

import msgspec

from scopes import jose, strict_json
from scopes.errors import InvalidDocument
from scopes.keys import PROOF_ALGORITHMS, SigningKey

PROOF_TYPE = "dpop+jwt"

MAX_AGE = 60
"""The seconds for which a proof is accepted: long enough for a slow network and a slow clock, short for whoever steals it."""

MAX_SKEW = 5
"""The seconds by which a proof may be from the future, as for tokens."""

MAX_LIFETIME = (MAX_AGE + MAX_SKEW) * 1000
"""The most milliseconds from when a proof is first accepted to when it is last."""

MAX_BYTES = 4 * 1024
"""Room for an RSA key of 4,096 bits, its signature, and a long URL."""

MAX_ID = 256
"""The most characters of a `jti`: it has to be unique, and it is remembered."""

# An absolute URL in ASCII: what stands on the wire. Without user names, for nobody names a resource by them.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?)(?P<rest>[?#].*)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")


class Proof(NamedTuple):
    """A proof that holds. `thumbprint` is its key's (RFC 7638), `id` its `jti`; it is late after the millisecond `until`."""

    thumbprint: str
    id: str
    nonce: str | None
    until: int


class _ProofClaims(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims of RFC 9449 §4.2; others are allowed and mean nothing here."""

    jti: str
    htm: str
    htu: str
    iat: int
    ath: str | None = None
    nonce: str | None = None


def make(key: SigningKey, *, method: str, url: str, now: int, token: str | None = None, nonce: str | None = None) -> str:
    """Sign a proof for one request (RFC 9449 §4.2), with the access token and the server's nonce where there are any.

    `now` is milliseconds. Make one for each request, repetitions included.
    """
    target, _, _ = url.partition("#")[0].partition("?")
    claims = _ProofClaims(
        jti=secrets.token_urlsafe(16),
        htm=method,
        htu=target,
        iat=now // 1000,
        ath=hash_of(token) if token is not None else None,
        nonce=nonce,
    )
    return jose.write_self_signed(msgspec.json.encode(claims), type=PROOF_TYPE, key=key)


def check(unverified_proof: str, *, method: str, url: str, now: int, token_hash: str | None = None) -> Proof:
    """Check a proof against the request it came with (RFC 9449 §4.3); raise `InvalidDocument` that says what is wrong.

    `url` is what the caller of the request wrote, on the wire's side of every proxy; query and fragment do not count. With a
    token, `token_hash` is its `hash_of`. `now` is milliseconds.
    """
    signed = jose.read_self_signed(unverified_proof, type=PROOF_TYPE, algorithms=PROOF_ALGORITHMS, max_bytes=MAX_BYTES)
    claims = strict_json.decode(signed.payload, type=_ProofClaims, max_bytes=MAX_BYTES)
    _check_request(claims, method, url)
    _check_time(claims, now)
    if token_hash is not None and claims.ath != token_hash:
        raise InvalidDocument("made for another access token, or for none (ath)")
    if not 1 <= len(claims.jti) <= MAX_ID:
        raise InvalidDocument(f"its jti has to have 1 to {MAX_ID} characters")
    return Proof(signed.thumbprint, claims.jti, claims.nonce, _late(claims))


def hash_of(token: str) -> str:
    """Return the `ath` of an access token: the base64url of its SHA-256 (RFC 9449 §4.2)."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _check_request(claims: _ProofClaims, method: str, url: str) -> None:
    if claims.htm != method:
        raise InvalidDocument("made for another method (htm)")
    made_for, asked = _Target.of(claims.htu), _Target.of(url)
    # RFC 9449 §4.2 writes `htu` without query and fragment. To skip one that is there would let a proof say more than it does.
    if made_for is None or asked is None or made_for.rest or made_for[:3] != asked[:3]:
        raise InvalidDocument("made for another URL (htu)")


def _check_time(claims: _ProofClaims, now: int) -> None:
    if claims.iat < 0 or now > _late(claims):
        raise InvalidDocument("made too long ago (iat); compare the clocks")
    if claims.iat * 1000 > now + MAX_SKEW * 1000:
        raise InvalidDocument("from the future (iat); compare the clocks")


def _late(claims: _ProofClaims) -> int:
    return (claims.iat + MAX_AGE) * 1000


class _Target(NamedTuple):
    """A URL, normalised by syntax and scheme (RFC 3986 §6.2.2, §6.2.3): two that are equal name the same."""

    scheme: str
    authority: str
    path: str
    rest: str

    @classmethod
    def of(cls, url: str) -> "_Target | None":
        match = _URL.fullmatch(url)
        if match is None:
            return None
        scheme, port = match["scheme"].lower(), match["port"]
        suffix = f":{int(port)}" if port and port != _DEFAULT_PORTS[scheme] else ""
        return cls(scheme, match["host"].lower() + suffix, _normal_path(match["path"]), match["rest"] or "")


def _normal_path(path: str) -> str:
    """Spell a path in one way: what needs no escape is not escaped, and dot segments are gone. Its letters keep their case."""
    segments: list[str] = []
    plain = _ESCAPE.sub(lambda escape: _plain(escape[0]), path)
    for segment in plain.split("/")[1:]:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    ends_open = plain.endswith(("/.", "/.."))
    return "/" + "/".join(segments) + ("/" if ends_open and segments else "")


def _plain(escape: str) -> str:
    letter = chr(int(escape[1:], 16))
    return letter if _UNRESERVED.fullmatch(letter) else escape.upper()
