"""Signs in at a broker, as an operator with a key or as an agent with an identity."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import typer

from broker import private_key_file
from broker.client import Agent, Misconfigured, Operator
from broker.client.agent import certificate_files, identity_file
from broker.client.subject import token_file
from scopes.keys import SigningKey

T = TypeVar("T")

PATIENCE = 5.0
"""The seconds that somebody at a terminal waits for a broker that is busy."""


class AgentFiles(NamedTuple):
    """What an agent proves with who it is: a JWT-SVID, or a certificate and its key, or both."""

    identity: Path | None
    certificate: Path | None
    key: Path | None

    @property
    def are_given(self) -> bool:
        """Tell whether somebody wants to act as an agent."""
        return any(file is not None for file in self)


def operator(broker: str, name: str, key: Path) -> Operator:
    """Return the operator's client; raise `Misconfigured` without a key, `ConfigurationError` for one that cannot be used."""
    file = key.expanduser()
    if not file.exists():
        raise Misconfigured(
            f"say who is asking: {file} is not there; --operator-key or BROKER_OPERATOR_KEY names an operator's private key, "
            "and `broker init` makes one"
        )
    return Operator(broker, name, private_key_file.read(file), patience=PATIENCE)


def for_whom(user_token: Path | None, parent_token: Path | None) -> dict[str, Callable[[], str]]:
    """Return the tokens in these files, by what they are to the client's library; raise `BadParameter` for both."""
    if user_token is not None and parent_token is not None:
        raise typer.BadParameter("give --user-token or --parent-token: a token above already says for which user it is")
    named = {"user_token": user_token, "parent_token": parent_token}
    return {name: token_file(file) for name, file in named.items() if file is not None}


def as_agent(broker: str, files: AgentFiles, call: Callable[[Agent], Awaitable[T]], *, key: SigningKey | None = None) -> T:
    """Return what a call says that is made as the agent of these files; raise `Misconfigured` without any.

    Tokens are bound to the key, where there is one, or to the certificate; to nothing else, for nobody could use them after the
    command.
    """
    if not files.are_given:
        raise Misconfigured(
            "say who is asking: --identity or BROKER_IDENTITY_FILE names the file of an agent's identity; "
            "`broker development identity AGENT --output FILE` makes one for a development broker"
        )

    identity = identity_file(files.identity) if files.identity is not None else None
    certificate = certificate_files(files.certificate, files.key)

    async def make() -> T:
        bound = key is not None
        async with Agent(broker, identity, certificate=certificate, key=key, bound=bound, patience=PATIENCE) as agent:
            return await call(agent)

    return asyncio.run(make())
