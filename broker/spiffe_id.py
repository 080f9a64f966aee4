"""The SPIFFE id grammar (SPIFFE-ID §2), for everyone who has to tell a workload's name from other text."""

import re
from functools import lru_cache

_SEGMENT = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SPIFFE_ID = re.compile(rf"spiffe://([a-z0-9._-]{{1,255}})(?:/{_SEGMENT})+")
_MAX_BYTES = 2048


def is_trust_domain(text: str) -> bool:
    """Tell whether the text is the name of a trust domain (§2.1)."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def is_spiffe_id(text: str) -> bool:
    """Tell whether the text is a SPIFFE id with a path, so one of a workload and not of a trust domain."""
    return trust_domain(text) is not None


# A workload is asked about several times on the way to each of its tokens.
@lru_cache(maxsize=10_000)
def trust_domain(text: str) -> str | None:
    """Return the trust domain of a workload's SPIFFE id, or `None` for anything else."""
    match = _SPIFFE_ID.fullmatch(text) if len(text) <= _MAX_BYTES else None
    return match[1] if match is not None else None
