"""What a verification costs, as a ratio to the bare signature check of the same run: python -m tests.benchmarks.verify

Prints the best of several rounds, since everything else on a machine only ever makes a round slower.
"""

import statistics
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from scopes import Verifier, claims, jose
from scopes.claims import TOKEN_TYPE, Claims, LeaseClaims, detail_of
from scopes.clock import SystemClock
from scopes.revocations import Snapshot
from scopes.scope import Scope
from tests.scopes.issuer import Issuer

AUDIENCE = "https://crm.example.com"
RESOURCE = "crm:ticket/4711"
TOKENS = 1_000
ROUNDS = 7


def main() -> None:
    """Measure and print."""
    issuer = Issuer(SystemClock())
    with Verifier(issuer.url, AUDIENCE) as verifier:
        verifier.wait_until_ready()
        measure(issuer, verifier)
    issuer.close()


def measure(issuer: Issuer, verifier: Verifier) -> None:
    """Compare tokens never seen, and tokens seen before, with the signature check alone."""
    bare, new, seen = [], [], []
    for _ in range(ROUNDS):
        tokens = [token(issuer, verifier, number) for number in range(TOKENS)]
        bare.append(seconds_each(bare_check(issuer, tokens)))
        new.append(seconds_each(lambda: verify_all(verifier, tokens)))
        seen.append(seconds_each(lambda: verify_all(verifier, tokens)))
    ratios = [one / other for one, other in zip(new, bare, strict=True)]
    print(f"bare ES256 check  {min(bare) * 1e6:7.1f} µs   median {statistics.median(bare) * 1e6:.1f}")
    print(f"token never seen  {min(new) * 1e6:7.1f} µs   {min(new) / min(bare):.2f} × bare (median {statistics.median(ratios):.2f} ×)")
    print(f"token seen before {min(seen) * 1e6:7.2f} µs   median {statistics.median(seen) * 1e6:.2f}")


if __name__ == "__main__":
    main()
