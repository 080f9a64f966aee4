"""The one table from what went wrong to what is said on standard error, and with which exit code the process ends."""

import traceback
from pathlib import Path

from broker.cli import output
from broker.client import ClientError, Misconfigured, NotAuthenticated, Unreachable
from broker.client.refusals import STUCK
from broker.errors import BrokerError, ConfigurationError

REFUSED, USAGE, UNREACHABLE, UNCONFIRMED = 1, 2, 3, 4

_HINTS: dict[type[Exception], str] = {
    Unreachable: "Is it running? `broker serve` starts one; --broker or BROKER_URL says where it is.",
    NotAuthenticated: "Operators: is the key of --operator-key in the registry, under the name of --operator? "
    "Agents: is the identity of --identity fresh, and made for this broker?",
}


def report(error: Exception) -> int:
    """Say what went wrong, and what to do next where that is known; return the exit code."""
    if isinstance(error, ClientError):
        output.say(f"error: {_sentence(error)}")
    elif isinstance(error, BrokerError):
        problems(error)
    elif isinstance(error, OSError) and error.filename is not None:
        output.say(f"error: {error.filename}: {error.strerror}")
    else:
        output.say(f"error: {type(error).__name__} {_place(error)}, which should not happen; please report it")
    for kind, hint in _HINTS.items():
        if isinstance(error, kind):
            output.say(hint)
    if isinstance(error, ClientError) and error.reason == "proof_required":
        output.say("--dpop-key FILE binds the token to a key.")
    if isinstance(error, ClientError) and error.reason == "not_delegated":
        output.say("In the registry, users and delegates_to of an agent say for whom it may act, and who may act for it.")
    return _exit_code(error)


def problems(error: BrokerError) -> None:
    """Say everything that is wrong with a configuration."""
    for line in error.problems if isinstance(error, ConfigurationError) else [str(error)]:
        output.say(f"error: {line}")


def _sentence(error: ClientError) -> str:
    details = [error.code if error.code != type(error).code or error.status else ""]
    details.append(f"reason {error.reason}" if error.reason else "")
    details.append(f"policies {', '.join(error.policies)}" if error.policies else "")
    said = ", ".join(detail for detail in details if detail)
    return f"{error} ({said})" if said else str(error)


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "somewhere"


def _exit_code(error: Exception) -> int:
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if isinstance(error, ClientError) and error.reason == STUCK:
        return UNCONFIRMED
    return USAGE if isinstance(error, Misconfigured | ConfigurationError) else REFUSED
