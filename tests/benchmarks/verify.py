"""What a verification costs, against the bare signature check of the same run. Run: python -m tests.benchmarks.verify.

Prints the best of several rounds, since all else on a machine only ever makes a round slower, and the medians beside it.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwt.algorithms import ECAlgorithm

from scopes import Verifier, jose
from scopes import proof as proofs
from scopes.claims import Claims
from scopes.clock import SystemClock
from scopes.keys import SigningKey
from tests.scopes.issuer import Issuer
from tests.scopes.tokens import AUDIENCE, RESOURCE, compact, header_of, members

TOKENS = 1_000
ROUNDS = 9
_URL = "https://crm.example.com/tickets/4711"
_TYPES: frozenset[str | None] = frozenset({"at+jwt"})


def main() -> None:
    issuer = Issuer(SystemClock())
    with Verifier(issuer.url, AUDIENCE) as verifier:
        verifier.wait_until_ready()
        rounds = [one_round(issuer, verifier, number) for number in range(ROUNDS)]
    issuer.close()
    show(*(list(figures) for figures in zip(*rounds, strict=True)))


def one_round(issuer: Issuer, verifier: Verifier, number: int) -> tuple[float, float, float, float]:
    """Return the seconds of a bare check, of a token never seen, of one seen before, and of one with a proof of its key."""
    issuer.beat()
    now = SystemClock().now().wall // 1000
    names = [f"lse_{number}_{index}" for index in range(TOKENS)]
    header = header_of(issuer.key)
    tokens = [compact(header, as_issued(members(now=now, issuer=issuer.url, jti=name)), issuer.key) for name in names]
    checks = [bare_check(issuer, token) for token in tokens]

    def verify(token: str) -> None:
        verifier.verify(token, action="read", resource=RESOURCE)

    return (
        seconds_each(lambda: [check() for check in checks]),
        seconds_each(lambda: [verify(token) for token in tokens]),
        seconds_each(lambda: [verify(token) for token in tokens]),
        with_proofs(issuer, verifier, number),
    )


def with_proofs(issuer: Issuer, verifier: Verifier, number: int) -> float:
    """Return the seconds of a token seen before that is bound to a key, and comes with a new proof each time."""
    key, now = SigningKey.generate(), SystemClock().now().wall
    claims = members(now=now // 1000, issuer=issuer.url, jti=f"lse_{number}", cnf={"jkt": key.kid})
    token = compact(header_of(issuer.key), as_issued(claims), issuer.key)
    made = [proofs.make(key, method="GET", url=_URL, now=now, token=token) for _ in range(TOKENS + 1)]

    def verify(proof: str) -> None:
        verifier.verify(token, action="read", resource=RESOURCE, proof=proof, method="GET", url=_URL)

    verify(made.pop())
    return seconds_each(lambda: [verify(proof) for proof in made])


def as_issued(claims: dict[str, Any]) -> dict[str, Any]:
    """Return the members in the order in which a broker writes them, for text in any other order is read twice."""
    in_order: dict[str, Any] = msgspec.to_builtins(msgspec.convert(claims, Claims))
    return in_order


def bare_check(issuer: Issuer, token: str) -> Callable[[], None]:
    """Return the check of this token's signature and nothing else."""
    key = ECAlgorithm(ECAlgorithm.SHA256).from_jwk(dict(issuer.key.public_jwk))
    jws = jose.read(token, types=_TYPES)
    r, s = int.from_bytes(jws.signature[:32]), int.from_bytes(jws.signature[32:])
    signature, data, scheme = encode_dss_signature(r, s), jws.signing_input, ec.ECDSA(hashes.SHA256())
    return lambda: key.verify(signature, data, scheme)


def seconds_each(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / TOKENS


def show(bare: list[float], new: list[float], seen: list[float], proven: list[float]) -> None:
    line("bare ES256 check", bare)
    line("token never seen", new)
    ratio(new, bare)
    line("token seen before", seen)
    line("with a proof", proven)
    ratio(proven, bare)


def line(name: str, seconds: list[float]) -> None:
    print(f"{name:<18} {min(seconds) * 1e6:7.2f} µs  (median {statistics.median(seconds) * 1e6:.2f})")


def ratio(ours: list[float], bare: list[float]) -> None:
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    print(f"  against the bare check: {min(ratios):.2f} × at best, {statistics.median(ratios):.2f} × in the median round")


if __name__ == "__main__":
    main()
