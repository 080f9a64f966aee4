"""Why the broker refuses: one tree, a class per decision the caller can take, stable codes, no HTTP.

The message reaches the caller: it says what to do and never holds a secret, a token or somebody else's data.
"""


class BrokerError(Exception):
    """Whatever the broker refuses to do."""

    code = "server_error"

    def __init__(self, message: str, *, reason: str = "", policies: tuple[str, ...] = (), retry_after: int = 0) -> None:
        """Say why; `reason` is from a closed list, `policies` are the ids that decided, `retry_after` is in seconds."""
        super().__init__(message)
        self.reason = reason or self.code
        self.policies = policies
        self.retry_after = retry_after


class InvalidRequest(BrokerError):
    """The request is malformed."""

    code = "invalid_request"


class UnsupportedGrantType(BrokerError):
    """The token endpoint does not know this grant."""

    code = "unsupported_grant_type"


class UnsupportedTokenType(BrokerError):
    """What is shown is of a kind that cannot be given back (RFC 7009 §2.2.1)."""

    code = "unsupported_token_type"


class InvalidClient(BrokerError):
    """The caller did not prove who it is."""

    code = "invalid_client"


class InvalidGrant(BrokerError):
    """What the request builds on, a task or a token, is unknown, over, or somebody else's."""

    code = "invalid_grant"


class UnauthorizedClient(BrokerError):
    """The agent is known and may not ask for tokens now."""

    code = "unauthorized_client"


class InvalidScope(BrokerError):
    """What is asked for does not exist in the catalogue, or is more than one thing."""

    code = "invalid_scope"


class InvalidAuthorizationDetails(InvalidScope):
    """The same, asked for by `authorization_details` (RFC 9396 §5)."""

    code = "invalid_authorization_details"


class InvalidTarget(BrokerError):
    """The resource is unknown or is not the service that the scope names (RFC 8707 §2)."""

    code = "invalid_target"


class InvalidDpopProof(BrokerError):
    """The proof does not show that the caller holds a key (RFC 9449 §5)."""

    code = "invalid_dpop_proof"


class UseDpopNonce(BrokerError):
    """The proof lacks a nonce of this broker; the answer has one (RFC 9449 §8)."""

    code = "use_dpop_nonce"


class AccessDenied(BrokerError):
    """Outside the ceiling, or refused by policy."""

    code = "access_denied"


class LimitReached(BrokerError):
    """A rate or volume limit is reached."""

    code = "temporarily_unavailable"


class Unavailable(BrokerError):
    """Something the answer depends on cannot be reached or is too old; nothing was granted."""

    code = "temporarily_unavailable"


class Stuck(Unavailable):
    """What was to end is not known to have ended; it is kept under its id, and tried until the store confirms it."""

    def __init__(self, message: str, *, id: str = "") -> None:
        """Say why, and the id of the event under which it is kept."""
        super().__init__(message, reason="stuck", retry_after=1)
        self.id = id


class Unconfirmed(Unavailable):
    """The master did it, and too few replicas confirmed that in time: with that master it can be forgotten."""

    def __init__(self, message: str = "too few replicas of the store confirmed it, so it does not count; try again") -> None:
        super().__init__(message, reason="unconfirmed", retry_after=1)


class FetchFailed(Unavailable):
    """A configured address did not give what it should have; what was known before stays."""


class NotFound(BrokerError):
    """There is nothing of this name that the caller may see."""

    code = "not_found"


class AlreadyUsed(BrokerError):
    """The token has been used as often as it may be."""

    code = "already_used"


class Expired(BrokerError):
    """The time of what was to be used is over."""

    code = "expired"


class Revoked(BrokerError):
    """What was to be used was ended before its time."""

    code = "revoked"


class Retired(BrokerError):
    """The agent is retired, which is for good."""

    code = "agent_retired"


class Conflict(BrokerError):
    """Somebody else changed meanwhile what this was to change; nothing was done."""

    code = "conflict"


class ConfigurationError(BrokerError):
    """The configuration cannot be used. `problems` name the file, the key and, where there is one, the nearest valid name."""

    code = "invalid_configuration"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
