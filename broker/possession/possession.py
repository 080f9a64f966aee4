"""DPoP proofs at the token endpoint: each is checked, fresh by its nonce, and taken once by all workers together."""

import base64
import hashlib
from collections.abc import Sequence

from broker.errors import InvalidDpopProof, UseDpopNonce
from broker.possession.nonces import Nonces
from broker.store import Store, key, shard_of
from scopes import proof as proofs
from scopes.clock import Clock
from scopes.errors import InvalidDocument
from scopes.proof import Proof

# The record of a proof must outlive every moment at which it is still accepted, on a worker whose clock is behind as well, so
# it is kept for the skew on top of that, and a little more (milliseconds).
_MARGIN = (proofs.MAX_SKEW + 30) * 1000

_METHOD = "POST"


class Possession:
    """Knows the key that a caller holds."""

    def __init__(self, *, store: Store, nonces: Nonces, urls: Sequence[str], clock: Clock) -> None:
        """Accept proofs for any of `urls`: the token endpoint as its callers write it, with its aliases (RFC 8705 §5)."""
        self._store = store
        self._nonces = nonces
        self._urls = urls
        self._clock = clock
        self._spend = store.script("broker.possession", "spend")

    async def prove(self, unverified_proof: str) -> str:
        """Return the thumbprint of the key that the caller holds, and spend the proof.

        Raises `InvalidDpopProof`, `UseDpopNonce` where it lacks a nonce of ours, and `Unavailable` without a store.
        """
        proof = self._checked(unverified_proof)
        if not await self._nonces.knows(proof.nonce):
            raise UseDpopNonce("make the DPoP proof again, with the nonce of the DPoP-Nonce header")
        if not await self._store.run(self._spend, [key(shard_of(proof.thumbprint), "proofs")], _record(proof)):
            raise InvalidDpopProof("the DPoP proof was used before; make one for each request")
        return proof.thumbprint

    def _checked(self, unverified_proof: str) -> Proof:
        refusals = []
        for url in self._urls:
            try:
                return proofs.check(unverified_proof, method=_METHOD, url=url, now=self._clock.now().wall)
            except InvalidDocument as error:
                refusals.append(error)
        raise InvalidDpopProof(f"the DPoP proof is not accepted: {refusals[0]}")

    async def nonce(self) -> str:
        """Return the nonce to make the next proof with; raise `Unavailable` without a store."""
        return await self._nonces.current()


def _record(proof: Proof) -> list[str | int]:
    # A hash, for a `jti` can be long and is of its maker's choice.
    digest = hashlib.sha256(f"{proof.thumbprint} {proof.id}".encode("utf-8", "surrogatepass")).digest()
    return [base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), proof.until + _MARGIN]
