"""An agent's side: declare a task, get tokens for it, call services with them, and say when it is over.

```python
async with Agent.from_environment() as agent:
    async with agent.task("summarise-ticket", purpose="…") as task:
        response = await task.request("GET", url, scope="crm:ticket/4711#read[subject]")
```
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from broker.client import assertions
from broker.client.answers import Issued, TaskRecord
from broker.client.assertions import Identity
from broker.client.certificate import ClientCertificate
from broker.client.connection import PATIENCE, Connection
from broker.client.errors import ClientError, Misconfigured, Refused, UnexpectedAnswer
from broker.client.holder import Bearer, Bound, Holder
from broker.client.subject import TOKEN_EXCHANGE, ParentToken, Subject, UserToken, subject_of
from broker.client.tokens import Token, Tokens
from scopes.clock import Clock, SystemClock
from scopes.errors import InvalidScope
from scopes.keys import SigningKey
from scopes.scope import Scope

URL_VARIABLE = "BROKER_URL"
IDENTITY_VARIABLE = "BROKER_IDENTITY_FILE"
PRIVATE_KEY_VARIABLE = "BROKER_PRIVATE_KEY_FILE"
NAME_VARIABLE = "BROKER_AGENT"
CERTIFICATE_VARIABLE = "BROKER_CERTIFICATE_FILE"
KEY_VARIABLE = "BROKER_KEY_FILE"

COMPLETE, FAIL, CANCEL = "complete", "fail", "cancel"
"""How a task can be ended by whoever it belongs to."""

_CLIENT_CREDENTIALS = "client_credentials"
_TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path, not a secret
_BOUND = "DPoP"
_USE_NONCE = "use_dpop_nonce"
_UNAUTHORIZED = 401
_LOG = logging.getLogger(__name__)


class Declaration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an agent says it is about to do. `resources` are prefixes that narrow the type, `max_duration` is seconds."""

    type: str
    purpose: str = ""
    resources: Sequence[str] | None = None
    max_duration: int | None = None
    parent: str | None = None


class Agent:
    """One workload at one broker. Closes its connections when it is left."""

    def __init__(
        self,
        broker_url: str,
        identity: Identity | None = None,
        *,
        certificate: ClientCertificate | None = None,
        key: SigningKey | None = None,
        bound: bool = True,
        patience: float = PATIENCE,
        transport: httpx2.AsyncBaseTransport | None = None,
        services: httpx2.AsyncClient | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Speak to the broker at `broker_url`, which is its issuer, waiting at most `patience` seconds where it is busy.

        Tokens are bound to `key`; without one to a new key, which never leaves this object. With `bound=False` they are plain
        bearer tokens, for whoever cannot make proofs.
        A `certificate` is shown on every connection. It does without an identity, and tokens are bound to it where there is no
        `key`; `broker_url` is then where the broker takes certificates.
        `services` is the client that calls protected services, where its limits, proxies or certificates are the caller's
        to say; the caller then closes it.
        """
        if identity is None and certificate is None:
            raise Misconfigured("an agent proves who it is by an identity (a JWT-SVID) or a certificate: give one")
        shown = certificate.transport() if certificate is not None and transport is None else transport
        self._connection = Connection(broker_url, patience=patience, transport=shown, clock=clock, sleep=sleep)
        self._identity: Callable[[], str | None] = identity or (lambda: None)
        self._certificate = certificate
        proves = bound and (certificate is None or key is not None)
        self._holder = Holder(key or SigningKey.generate(), clock=self._connection.clock) if proves else None
        self._services = services
        self._own_services: httpx2.AsyncClient | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Agent":
        """Make the agent that `BROKER_URL` and `BROKER_IDENTITY_FILE` describe; raise `Misconfigured` without them.

        `BROKER_CERTIFICATE_FILE` and `BROKER_KEY_FILE` are its certificate, with which it needs no other identity. Nor does it
        where it signs for itself, as the agent `BROKER_AGENT` of the registry, with the key in `BROKER_PRIVATE_KEY_FILE`.
        """
        if environment.get(PRIVATE_KEY_VARIABLE):
            return cls._signing(environment)
        certificate = certificate_files(environment.get(CERTIFICATE_VARIABLE), environment.get(KEY_VARIABLE))
        needed = (URL_VARIABLE, IDENTITY_VARIABLE) if certificate is None else (URL_VARIABLE,)
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise Misconfigured(f"{' and '.join(missing)} not set: the broker's address, and the file of this agent's identity")
        file = environment.get(IDENTITY_VARIABLE)
        return cls(environment[URL_VARIABLE], identity_file(Path(file)) if file else None, certificate=certificate)

    @classmethod
    def _signing(cls, environment: Mapping[str, str]) -> "Agent":
        if environment.get(IDENTITY_VARIABLE):
            raise Misconfigured(f"{PRIVATE_KEY_VARIABLE} and {IDENTITY_VARIABLE} are two identities: set one of them")
        missing = [name for name in (URL_VARIABLE, NAME_VARIABLE) if not environment.get(name)]
        if missing:
            raise Misconfigured(f"{' and '.join(missing)} not set: the broker's address, and the agent's name in the registry")
        url, file = environment[URL_VARIABLE], Path(environment[PRIVATE_KEY_VARIABLE])
        return cls(url, signing_identity(environment[NAME_VARIABLE], assertions.private_key(file), issuer=url))

    async def __aenter__(self) -> "Agent":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()
        if self._own_services is not None:
            await self._own_services.aclose()

    def task(
        self,
        type: str,
        *,
        purpose: str = "",
        resources: Sequence[str] | None = None,
        max_duration: int | None = None,
        user_token: UserToken | None = None,
        parent_token: ParentToken | None = None,
    ) -> "Task":
        """Return a task to be entered with `async with`, which declares it, and ends it however the body ends.

        With a `user_token` it is done for that user. With a `parent_token`, which another agent handed over, it is part of that
        one's task, gives no more than that token, and ends with it at the latest.
        """
        declaration = Declaration(type, purpose, resources, max_duration)
        return Task(self, declaration, user_token=user_token, parent_token=parent_token)

    async def declare(
        self, declaration: Declaration, *, user_token: UserToken | None = None, parent_token: ParentToken | None = None
    ) -> TaskRecord:
        """Open a task that nobody ends but its maker, or its time; for a user or below another's, as `task` does."""
        subject = subject_of(user_token, parent_token)

        def make() -> httpx2.Request:
            body = msgspec.to_builtins(declaration) | (subject.members if subject is not None else {})
            return self._connection.request("POST", "/v1/tasks", assertion=self._identity(), json=body)

        return await self._connection.ask(make, TaskRecord)

    async def show_task(self, id: str) -> TaskRecord:
        """Return one of the agent's tasks."""
        return await self._connection.ask(
            lambda: self._connection.request("GET", f"/v1/tasks/{quote(id, safe='')}", assertion=self._identity()), TaskRecord
        )

    async def end_task(self, id: str, verb: str) -> TaskRecord:
        """End a task with all its leases and sub-tasks; `verb` is `complete`, `fail` or `cancel`."""
        path = f"/v1/tasks/{quote(id, safe='')}/{verb}"
        return await self._connection.ask(
            lambda: self._connection.request("POST", path, assertion=self._identity()), TaskRecord
        )

    async def token(
        self,
        scope: str,
        *,
        task: str | None = None,
        declaration: Declaration | None = None,
        ttl: int | None = None,
        user_token: UserToken | None = None,
        parent_token: ParentToken | None = None,
    ) -> Token:
        """Ask for a token for an open task, for one declared in the same call, or with neither for the default task.

        With a `user_token` or a `parent_token` the task is for that user, or below that token's.
        """
        form = {"grant_type": _CLIENT_CREDENTIALS, "scope": _canonical(scope)}
        form |= {"task": task} if task is not None else {}
        form |= {"task_declaration": msgspec.json.encode(declaration).decode()} if declaration is not None else {}
        form |= {"requested_ttl": str(ttl)} if ttl is not None else {}

        asked = self.clock.now().wall // 1000
        shown = self._shown()
        issued = await self._issued(form, subject_of(user_token, parent_token))
        if self._holder is not None and issued.token_type != _BOUND:
            raise UnexpectedAnswer("the broker did not bind the token to this agent's key, so it is not used")
        expires = asked + issued.expires_in
        return Token(
            issued.access_token, issued.scope, expires, issued.lease_id, issued.task_id, self._holder is not None, shown
        )

    async def _issued(self, form: dict[str, str], subject: Subject | None) -> Issued:
        url = self._connection.address.url + _TOKEN_PATH

        def make() -> httpx2.Request:
            proof = self._holder.prove("POST", url) if self._holder is not None else None
            exchanged = {"grant_type": TOKEN_EXCHANGE, **subject.members} if subject is not None else {}
            data = {**form, **exchanged, **self._credentials()}
            return self._connection.request("POST", _TOKEN_PATH, proof=proof, data=data)

        if self._holder is None:
            return await self._connection.ask(make, Issued)
        try:
            return await self._connection.ask(make, Issued, hear=self._holder.hear)
        except Refused as refusal:
            if refusal.code != _USE_NONCE:
                raise
            # The answer brought the nonce (RFC 9449 §8). Once: a broker that wants another each time is none.
            return await self._connection.ask(make, Issued, hear=self._holder.hear)

    def _credentials(self) -> dict[str, str]:
        assertion = self._identity()
        if assertion is not None:
            return {"client_assertion_type": assertions.type_of(assertion), "client_assertion": assertion}
        assert self._certificate is not None
        return {"client_id": self._certificate.current.workload}

    def _shown(self) -> str | None:
        return self._certificate.current.thumbprint if self._certificate is not None else None

    def can_use(self, token: Token) -> bool:
        """Tell whether the certificate that is shown now is the one that the token was asked for with, if there was one."""
        return token.certificate == self._shown()

    def authorization(self, token: Token, *, is_repeatable: bool = True) -> httpx2.Auth:
        """Return what sends a token of this agent with a request, with a proof of its key where it is bound.

        A request `is_repeatable` unless its body can be read only once; then it is not sent again for a service's nonce.
        """
        if not token.bound or self._holder is None:
            return Bearer(token)
        return Bound(token, self._holder, is_repeatable=is_repeatable)

    @property
    def clock(self) -> Clock:
        """The clock by which tokens are kept."""
        return self._connection.clock

    @property
    def services(self) -> httpx2.AsyncClient:
        """The client that calls protected services."""
        if self._services is None:
            shown = self._certificate.transport() if self._certificate is not None else None
            self._services = self._own_services = httpx2.AsyncClient(transport=shown)
        return self._services


class Task:
    """A task that is declared when it is entered and ended when it is left: completed, failed, or cancelled.

    What its body raises leaves it unchanged, whether or not the broker could be told. Where a body succeeded and the broker
    cannot be told so, that is raised, for the task's tokens then live on until they expire.
    """

    def __init__(
        self,
        agent: Agent,
        declaration: Declaration,
        *,
        user_token: UserToken | None = None,
        parent_token: ParentToken | None = None,
    ) -> None:
        """Prepare a task of the agent, for a user or below another agent's task where such a token is given."""
        self._agent = agent
        self._declare = partial(agent.declare, declaration, user_token=user_token, parent_token=parent_token)
        self._record: TaskRecord | None = None
        self._tokens = Tokens(self._ask, clock=agent.clock, can_use=agent.can_use)

    async def __aenter__(self) -> "Task":
        self._record = await self._declare()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            await self._agent.end_task(self.id, COMPLETE)
            return
        try:
            await self._agent.end_task(self.id, FAIL if isinstance(error, Exception) else CANCEL)
        except ClientError as untold:
            _LOG.warning("the broker could not be told that task %s ended, so its time has to end it: %s", self.id, untold)

    @property
    def id(self) -> str:
        """The task's id."""
        return self.record.id

    @property
    def record(self) -> TaskRecord:
        """The task as the broker opened it."""
        assert self._record is not None, "enter the task with `async with` before using it"
        return self._record

    def subtask(
        self,
        type: str,
        *,
        purpose: str = "",
        resources: Sequence[str] | None = None,
        max_duration: int | None = None,
    ) -> "Task":
        """Return a task below this one: never wider than it, and ended with it at the latest."""
        return Task(self._agent, Declaration(type, purpose, resources, max_duration, parent=self.id))

    async def token(self, scope: str, *, ttl: int | None = None) -> Token:
        """Return a token of this scope, the one that is there if it lives long enough; `ttl` is the most seconds wanted."""
        return await self._tokens.get(_canonical(scope), ttl)

    async def request(self, method: str, url: str, *, scope: str, **arguments: Any) -> httpx2.Response:
        """Call a service with a token of this scope; where it answers 401, ask for a new token and call once more.

        The `arguments` are httpx2's. A body that can be read only once is not sent again: the 401 is returned.
        """
        token = await self.token(scope)
        response = await self._call(method, url, token, arguments)
        if response.status_code != _UNAUTHORIZED or not _is_repeatable(arguments):
            return response
        await response.aclose()
        self._tokens.drop(token)
        return await self._call(method, url, await self.token(scope), arguments)

    async def _call(self, method: str, url: str, token: Token, arguments: dict[str, Any]) -> httpx2.Response:
        authorization = self._agent.authorization(token, is_repeatable=_is_repeatable(arguments))
        return await self._agent.services.request(method, url, **{**arguments, "auth": authorization})

    async def _ask(self, scope: str, ttl: int | None) -> Token:
        return await self._agent.token(scope, task=self.id, ttl=ttl)


def certificate_files(certificate: str | Path | None, key: str | Path | None) -> ClientCertificate | None:
    """Return the certificate of two files, or `None` where none is named; raise `Misconfigured` for one without the other."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise Misconfigured(f"{CERTIFICATE_VARIABLE} and {KEY_VARIABLE} go together: the certificate, and its private key")
    return ClientCertificate(Path(certificate), Path(key))


def signing_identity(name: str, key: SigningKey, *, issuer: str, clock: Clock | None = None) -> Identity:
    """Return what signs an assertion for each request, as the agent of this name in the registry (RFC 7523 §3)."""
    return lambda: assertions.signed(name, key, issuer=issuer.rstrip("/"), clock=clock or SystemClock())


def identity_file(path: Path) -> Identity:
    """Return what reads an assertion from a file, again each time; it raises `Misconfigured` where there is none."""

    def read() -> str:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            text = ""
        if not text:
            raise Misconfigured(f"{path}: holds no identity (a JWT-SVID, a platform's token) that could be read")
        return text

    return read


def _canonical(scope: str) -> str:
    try:
        return str(Scope.parse(scope))
    except InvalidScope as error:
        raise Refused(str(error), code="invalid_scope") from None


def _is_repeatable(arguments: dict[str, Any]) -> bool:
    return arguments.get("files") is None and isinstance(arguments.get("content"), str | bytes | None)
