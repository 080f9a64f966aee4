"""Claims that no issuer's token is believed with, whoever it is about."""

from typing import Any


def at(seconds: int) -> tuple[str, int]:
    """Stand for a moment so many seconds from now."""
    return ("at", seconds)


def moments(now: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the claims with those moments as they are now, in seconds."""
    return {name: now + value[1] if isinstance(value, tuple) else value for name, value in changes.items()}


HOSTILE_TO_ALL: dict[str, dict[str, Any]] = {
    "for nobody": {"aud": []},
    "without an audience": {"aud": None},
    "for a number": {"aud": 5},
    "of an issuer that nobody trusts": {"iss": "https://evil.test"},
    "without an issuer": {"iss": None},
    "expired this second": {"exp": at(0)},
    "without an end (TRAPS 2)": {"exp": None},
    "with a text as its end (TRAPS 2)": {"exp": "9999999999"},
    "with a boolean as its end (TRAPS 4)": {"exp": True},
    "with a float as its end (TRAPS 4)": {"exp": 9999999999.0},
    "with an end beyond all time (TRAPS 2)": {"exp": 10**30},
    "with an end in milliseconds (TRAPS 4)": {"exp": 2**40},
    "that lives for more than a day": {"exp": at(86_401)},
    "that ends before it begins": {"iat": at(20), "exp": at(10)},
    "without a beginning": {"iat": None},
    "from the future": {"iat": at(31), "exp": at(600)},
    "not valid yet": {"nbf": at(31)},
    "without a subject": {"sub": None},
    "with an empty subject": {"sub": ""},
}
"""What a token says instead, or `None` for nothing, by what is wrong with it."""
