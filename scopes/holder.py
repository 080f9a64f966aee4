"""Who holds a token: whoever proves to have the key, or the certificate, that it is bound to (RFC 7800 §3)."""

from typing import NamedTuple

from scopes import proof as proofs
from scopes.client_certificate import thumbprint
from scopes.clock import Instant
from scopes.errors import InvalidDocument, InvalidProof, ProofRequired
from scopes.proof import Proof


class Shown(NamedTuple):
    """What came with a token to prove that its key is held, and the request they came with."""

    unverified_proof: str | None
    method: str
    url: str


def check_certificate(bound_to: str | None, certificate: bytes | None) -> None:
    """Raise `ProofRequired` unless this is the certificate that the token is bound to, where it is (RFC 8705 §3)."""
    if bound_to is None:
        return
    if certificate is None:
        raise ProofRequired("the token is bound to a certificate: use it over mutual TLS, with that one")
    if thumbprint(certificate) != bound_to:
        raise ProofRequired("the token is bound to another certificate")


def proven(bound_to: str | None, unverified_token: str, shown: Shown, now: Instant) -> Proof:
    """Return the proof that the key is held which the token is bound to; nobody has looked yet whether it was used before.

    Raises `ProofRequired` where it is missing, `InvalidProof` where it is wrong, or the token bound to no key.
    """
    if bound_to is None:
        raise InvalidProof("the token is bound to no key, so that no proof can go with it (RFC 9449 §7.1)")
    if shown.unverified_proof is None:
        raise ProofRequired("the token is bound to a key: send it as Authorization: DPoP …, with a proof")
    request = {"method": shown.method, "url": shown.url, "token_hash": proofs.hash_of(unverified_token)}
    try:
        proof = proofs.check(shown.unverified_proof, now=now.wall, **request)
    except InvalidDocument as error:
        raise InvalidProof(f"not a proof for this request: {error}") from None
    if proof.thumbprint != bound_to:
        raise InvalidProof("the proof is of another key than the token's")
    return proof
