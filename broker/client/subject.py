"""For whom an agent acts: a user, by their token, or another agent, by the token that it handed over (RFC 8693)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.client.errors import Misconfigured
from broker.client.tokens import Token

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant, not a secret
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a type, not a secret

UserToken = str | Callable[[], str]
"""What an identity provider issued to the client at which a user signed in; called for each use, so it may be renewed."""

ParentToken = str | Token | Callable[[], str]
"""A token of the broker that another agent holds and handed over."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is shown beside the agent's own identity. Never shows its text."""

    show: Callable[[], str] = field(repr=False)
    type: str

    @property
    def members(self) -> dict[str, str]:
        """The two parameters; raises `Misconfigured` for a token that is empty."""
        text = self.show().strip()
        if not text:
            raise Misconfigured("the token that says for whom this agent acts is empty: get one for the broker's audience")
        return {"subject_token": text, "subject_token_type": self.type}


def subject_of(user_token: UserToken | None, parent_token: ParentToken | None) -> Subject | None:
    """Return what to show, or `None` for neither; raise `Misconfigured` for both."""
    if user_token is not None and parent_token is not None:
        raise Misconfigured("give user_token or parent_token: a token that was handed over already says for which user it is")
    if user_token is not None:
        return Subject(_showing(user_token), _JWT)
    return Subject(_showing(parent_token), _ACCESS_TOKEN) if parent_token is not None else None


def _showing(token: str | Token | Callable[[], str]) -> Callable[[], str]:
    if callable(token):
        return token
    text = token.text if isinstance(token, Token) else token
    return lambda: text


def token_file(path: Path) -> Callable[[], str]:
    """Return what reads a token from a file, again each time; it raises `Misconfigured` where there is none."""

    def read() -> str:
        try:
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise Misconfigured(f"{path}: holds no token that could be read") from None

    return read
