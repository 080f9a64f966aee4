"""An operator's side: look at what is out, and take it away. Every request is signed by itself."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from broker.client import assertions
from broker.client.answers import (
    ActivationRecord,
    AgentChange,
    AgentPage,
    AgentRecord,
    AuditPage,
    ConfigurationRecord,
    KeyList,
    KeyRotated,
    LeasePage,
    LeaseRecord,
    Reduced,
    ReductionPage,
    ReductionRecord,
    RevocationRecord,
    Revoked,
    StuckPage,
    StuckRecord,
    TaskPage,
    TaskRecord,
    VerifierList,
)
from broker.client.feed import News
from broker.client.published import Published
from scopes.keys import SigningKey

T = TypeVar("T")
P = TypeVar("P", TaskPage, LeasePage, AgentPage, ReductionPage, StuckPage)

Selector = Mapping[str, str | bool]
"""What to revoke: one of `lease`, `task`, `agent`, `instance`, `resource`, `owner`, `user`, `key` by value, or `all`: True."""


class Operator:
    """A person with a registered key, at one broker. Closes its connection when it is left."""

    def __init__(self, broker_url: str, name: str, key: SigningKey, **options: Any) -> None:
        """Act as the operator `name`, whose public key the registry holds; the options are those of `SyncConnection`."""
        self._published = Published(broker_url, **options)
        self._connection = self._published.connection
        self._name = name
        self._key = key

    def __enter__(self) -> "Operator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def tasks(self, agent: str | None = None) -> Iterator[TaskRecord]:
        """Yield open tasks, of one agent or of all."""
        for page in self._pages("/v1/tasks", TaskPage, {"agent": agent}):
            yield from page.tasks

    def show_task(self, id: str) -> TaskRecord:
        """Return one task."""
        return self._ask("GET", f"/v1/tasks/{_segment(id)}", TaskRecord)

    def end_task(self, id: str, verb: str) -> TaskRecord:
        """End a task with all its leases and sub-tasks; `verb` is `complete`, `fail` or `cancel`."""
        return self._ask("POST", f"/v1/tasks/{_segment(id)}/{verb}", TaskRecord)

    def leases(
        self,
        *,
        agent: str | None = None,
        task: str | None = None,
        resource: str | None = None,
        instance: str | None = None,
        status: str | None = None,
    ) -> Iterator[LeaseRecord]:
        """Yield leases: live ones unless `status` says otherwise; `resource` is a prefix."""
        asked = {"agent": agent, "task": task, "resource": resource, "instance": instance, "status": status}
        for page in self._pages("/v1/leases", LeasePage, asked):
            yield from page.leases

    def lease(self, id: str) -> LeaseRecord:
        """Return one lease."""
        return self._ask("GET", f"/v1/leases/{_segment(id)}", LeaseRecord)

    def revoke(self, selector: Selector, *, reason: str) -> Revoked:
        """End everything that the selector hits, whether or not anything is known to match."""
        body = {"selector": dict(selector), "reason": reason}
        return self._ask("POST", "/v1/revocations", Revoked, json=body)

    def reduce(self, selector: Selector, *, to: str, reason: str) -> Reduced:
        """Reduce the access of an agent, an instance, a service or all; `to` is `none` to restore it."""
        body = {"selector": dict(selector), "to": to, "reason": reason}
        return self._ask("POST", "/v1/reductions", Reduced, json=body)

    def change_agent(self, name: str, verb: str, *, reason: str, instance: str | None = None) -> AgentChange:
        """Stop an agent or one instance of it, or let it go on; `verb` is `suspend`, `resume` or `retire`."""
        body = {"reason": reason} if instance is None else {"reason": reason, "instance": instance}
        return self._ask("POST", f"/v1/agents/{_segment(name)}/{verb}", AgentChange, json=body)

    def keys(self) -> KeyList:
        """Return the broker's own keys, and where each stands in its life."""
        return self._ask("GET", "/v1/keys", KeyList)

    def rotate_key(self, use: str, *, reason: str, now: bool = False, revoke: str | None = None) -> KeyRotated:
        """Have another key follow the one for `token` or `feed`: when it was published long enough, or `now`.

        With `revoke` another takes that key's place at once, and every token it signed ends.
        """
        body = {"use": use, "reason": reason, "now": now, **({"revoke": revoke} if revoke is not None else {})}
        return self._ask("POST", "/v1/keys/rotate", KeyRotated, json=body)

    def reductions(self) -> Iterator[ReductionRecord]:
        """Yield every reduction in force."""
        for page in self._pages("/v1/reductions", ReductionPage, {}):
            yield from page.reductions

    def stuck(self) -> Iterator[StuckRecord]:
        """Yield what this replica was told to end and could not carry out yet."""
        for page in self._pages("/v1/stuck", StuckPage, {}):
            yield from page.stuck

    def revocation(self, id: str) -> RevocationRecord:
        """Return how far a revocation has come; raise `NotFound` for one that can end nothing any more."""
        return self._ask("GET", f"/v1/revocations/{_segment(id)}", RevocationRecord)

    def verifiers(self) -> VerifierList:
        """Return every verifier process that the broker has heard of lately."""
        return self._ask("GET", "/v1/feed/verifiers", VerifierList)

    def agents(self) -> Iterator[AgentRecord]:
        """Yield every agent of the registry."""
        for page in self._pages("/v1/agents", AgentPage, {}):
            yield from page.agents

    def agent(self, name: str) -> AgentRecord:
        """Return one agent, with how many leases it holds."""
        return self._ask("GET", f"/v1/agents/{_segment(name)}", AgentRecord)

    def activate(self, files: Mapping[str, Mapping[str, str]], *, reason: str, dry_run: bool = False) -> ActivationRecord:
        """Put a configuration into force for all workers; `files` are the texts of `registry` and `policies` by name."""
        body = {"registry": dict(files["registry"]), "policies": dict(files["policies"]), "reason": reason, "dry_run": dry_run}
        return self._ask("POST", "/v1/activations", ActivationRecord, json=body)

    def configuration(self) -> ConfigurationRecord:
        """Return what is in force, and which workers decide by it."""
        return self._ask("GET", "/v1/configuration", ConfigurationRecord)

    def audit(self, cursor: str = "", *, since: int = 0) -> AuditPage:
        """Return the records after the cursor, oldest first: a page of them, none where there are no more.

        Without a cursor it begins with the first record since then, in milliseconds.
        """
        asked = {"cursor": cursor} if cursor else {"since": str(since)}
        return self._ask("GET", "/v1/audit/events", AuditPage, params=asked)

    def feed(self, audience: str) -> Iterator[News]:
        """Follow the feed of one audience until its stream ends."""
        return self._published.feed(audience, assertion=self._assertion(self._published.issuer))

    def _pages(self, path: str, type: type[P], asked: Mapping[str, str | None]) -> Iterator[P]:
        params = {name: value for name, value in asked.items() if value is not None}
        while True:
            page = self._ask("GET", path, type, params=params)
            yield page
            if page.cursor is None:
                return
            params["cursor"] = page.cursor

    def _ask(self, method: str, path: str, type: type[T], **parts: Any) -> T:
        issuer = self._published.issuer
        return self._connection.ask(
            lambda: self._connection.request(method, path, assertion=self._assertion(issuer), **parts), type
        )

    def _assertion(self, issuer: str) -> str:
        return assertions.signed(self._name, self._key, issuer=issuer, clock=self._connection.clock)


def _segment(text: str) -> str:
    return quote(text, safe="")
