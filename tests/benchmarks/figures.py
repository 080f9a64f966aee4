"""What every benchmark prints beside its own figures: the spread of its rounds, and how busy the machine was."""

import hashlib
import statistics
import time
from collections.abc import Sequence

_BLOCK = bytes(1_000_000)
_ROUNDS = 25


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write the least, the median and the most."""
    return f"{min(values):.{digits}f} … {statistics.median(values):.{digits}f} … {max(values):.{digits}f}"


def machine() -> str:
    """Measure this machine now: a fixed piece of work, which on an idle machine always takes as long."""
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        hashlib.sha256(_BLOCK).digest()
        rounds.append((time.perf_counter() - start) * 1e3)
    return f"machine: SHA-256 of 1 MB takes {spread(rounds)} ms (least … median … most of {_ROUNDS})"
