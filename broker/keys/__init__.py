"""The broker's own keys: prepare, activate, retire (`DESIGN.md` 3.10, 3.19)."""

from broker.keys.custody import Custody, FolderCustody
from broker.keys.folder import FEED_KEY, MIRROR, TOKEN_KEY, WRAPPING_KEY, KeyFolder, create, files
from broker.keys.record import USES, Key, KeyRecord, Use

__all__ = [
    "FEED_KEY",
    "MIRROR",
    "TOKEN_KEY",
    "USES",
    "WRAPPING_KEY",
    "Custody",
    "FolderCustody",
    "Key",
    "KeyFolder",
    "KeyRecord",
    "Use",
    "create",
    "files",
]
