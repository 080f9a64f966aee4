"""Decision classes: what many leases were decided on alike, kept once for all of them (`DESIGN.md` 3.16)."""

import base64
import hashlib
from functools import cached_property, lru_cache

import msgspec

from scopes.levels import Level

_BYTES = 16


class DecisionClass(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, dict=True):
    """All that a decision saw and gave, but for the record and the moment. `facts` are the policies' own affair.

    `types` are those of the tasks from the root down, `agents` whose they are, `patterns` for each of them the ones that
    allowed it. `binding` is by what the registry knows the workload as the agent's, `users` the trust of the user for whom it
    is done. `max_staleness` is seconds. What ends it, the token says too.
    """

    epoch: str
    level: Level
    audience: str
    max_staleness: int
    facts: msgspec.Raw
    types: tuple[str, ...]
    patterns: tuple[tuple[str, ...], ...]
    agents: tuple[str, ...] = ()
    binding: str = ""
    users: str = ""
    untrusted: bool = False
    single_use: bool = False
    max_uses: int | None = None
    ends_on_taint: bool = False
    ends_on_labels: tuple[str, ...] = ()
    approved: bool = False

    @cached_property
    def text(self) -> str:
        """Write it: the epoch first, for scripts to read."""
        return f"{self.epoch} {msgspec.json.encode(self).decode()}"

    @cached_property
    def id(self) -> str:
        """Its name: 128 bits of a SHA-256, in 22 letters. Equal classes have the same."""
        digest = hashlib.sha256(self.text.encode()).digest()[:_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str) -> "DecisionClass":
        """Read what `text` wrote."""
        return _read(text)


# A list of leases names the same few classes again and again.
@lru_cache(maxsize=4096)
def _read(text: str) -> DecisionClass:
    return msgspec.json.decode(text.partition(" ")[2], type=DecisionClass)
