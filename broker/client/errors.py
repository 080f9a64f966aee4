"""Why a call did not succeed: one tree, a class per decision the caller can take."""


class ClientError(Exception):
    """A call did not succeed. `code` is the broker's where it answered, else the class's; `retry_after` is in seconds."""

    code = "client_error"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        reason: str = "",
        policies: tuple[str, ...] = (),
        retry_after: float = 0.0,
    ) -> None:
        """Say why; `status` is 0 where nobody answered, `reason` and `policies` are what a refusal named."""
        super().__init__(message)
        self.code = code or self.code
        self.status = status
        self.reason = reason
        self.policies = policies
        self.retry_after = retry_after


class Misconfigured(ClientError):
    """This side lacks something: an address, an identity, a key. Nothing was sent."""

    code = "client_misconfigured"


class Unreachable(ClientError):
    """No answer came. What was asked for may have been done all the same; to ask again is safe."""

    code = "broker_unreachable"


class UnexpectedAnswer(ClientError):
    """Something answered that is no broker, or a broker that failed inside."""

    code = "unexpected_answer"


class Refused(ClientError):
    """The broker said no; to ask the same again will not help."""

    code = "refused"


class NotAuthenticated(Refused):
    """The broker does not accept the assertion that says who is asking."""

    code = "invalid_client"


class NotFound(Refused):
    """There is nothing of this name, or nothing that the caller may see."""

    code = "not_found"


class Busy(ClientError):
    """A limit is reached or the broker cannot answer for now, and longer than this caller waits; ask later."""

    code = "temporarily_unavailable"
