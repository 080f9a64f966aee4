"""ULIDs (github.com/ulid/spec): ids that sort by the time they were made, and carry a shard where asked to."""

import hashlib
import re
import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(rf"[0-7][{_ALPHABET}]{{25}}")
_LARGEST = 2**128 - 1
# Two letters at a time: ids are made on the way to every token.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def new(now: int) -> str:
    """Make a ULID of the time `now`, in milliseconds since the Unix epoch."""
    return _text(now << 80 | int.from_bytes(secrets.token_bytes(10)))


def derived(seed: bytes) -> str:
    """Make the one ULID that belongs to a seed; its time means nothing."""
    return _text(int.from_bytes(hashlib.sha256(seed).digest()[:16]))


def above(known: str, now: int) -> str:
    """Make a ULID that sorts above `known` even if the clock says otherwise; `known` may be empty."""
    made = new(now)
    return made if made > known else _text(min(_number(known) + 1, _LARGEST))


def time_of(ulid: str) -> int:
    """Return when a ULID was made, in milliseconds since the Unix epoch; raise `ValueError` for a text that is none."""
    if _ULID.fullmatch(ulid) is None:
        raise ValueError("this is no ULID")
    return _number(ulid) >> 80


def is_id(text: str, prefix: str) -> bool:
    """Tell whether the text is the prefix followed by a ULID."""
    return text.startswith(prefix) and _ULID.fullmatch(text, len(prefix)) is not None


def _text(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def _number(text: str) -> int:
    number = 0
    for letter in text:
        number = number << 5 | _ALPHABET.index(letter)
    return number
