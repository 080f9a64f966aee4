"""What a protected service reads from a request's header fields, and what it answers beside a refusal."""

from collections.abc import Iterable
from typing import NamedTuple

from scopes.errors import Denied, InvalidProof, InvalidToken, VerificationError
from scopes.keys import PROOF_ALGORITHMS

_UNAVAILABLE = 503
_ALGORITHMS = " ".join(sorted(PROOF_ALGORITHMS))


class Presented(NamedTuple):
    """A token as it came, and the proof beside it. Nobody has looked at either."""

    unverified_token: str
    unverified_proof: str | None


def presented(fields: Iterable[tuple[str, str]]) -> Presented:
    """Read token and proof from the header fields of a request, given as pairs, each field as often as it came.

    With the scheme `DPoP` there is exactly one proof (RFC 9449 §4.3, §7.1). With `Bearer` a proof does not count, so that a
    bound token is refused (§7.2). Raises `InvalidToken` or `InvalidProof`.
    """
    known = [(name.lower(), value) for name, value in fields]
    authorizations = [value for name, value in known if name == "authorization"]
    proofs = [value for name, value in known if name == "dpop"]
    if len(authorizations) != 1:
        raise InvalidToken("send one token, as Authorization: DPoP … or Authorization: Bearer …")
    scheme, _, token = authorizations[0].partition(" ")
    if scheme.lower() == "bearer":
        return Presented(token.strip(), None)
    if scheme.lower() != "dpop":
        raise InvalidToken("the scheme has to be DPoP or Bearer")
    if len(proofs) != 1:
        raise InvalidProof("send one proof in one DPoP header (RFC 9449 §4.3)")
    return Presented(token.strip(), proofs[0])


def challenge(refusal: VerificationError) -> dict[str, str]:
    """Return the header fields to answer a refusal with: `WWW-Authenticate`, where another token or proof would help.

    By RFC 9449 §7.1 it says which algorithms a proof may be signed with.
    """
    if refusal.status == _UNAVAILABLE:
        return {}
    return {"WWW-Authenticate": f'DPoP error="{_error(refusal)}", algs="{_ALGORITHMS}"'}


def _error(refusal: VerificationError) -> str:
    # The registered names only (RFC 6750 §3.1, RFC 9449 §12.2); `code` says more, in the body.
    return refusal.code if isinstance(refusal, Denied | InvalidProof) else "invalid_token"
