"""Who asks for a token and proves to hold a key: DPoP at the token endpoint (RFC 9449 §5, §8)."""

from broker.possession.nonces import Nonces
from broker.possession.possession import Possession

__all__ = ["Nonces", "Possession"]
