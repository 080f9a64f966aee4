"""The referee: the book of what was handed out, taken away and seen, and the judgement of it (`DESIGN.md` 4).

Everything is judged from outside. A token has to be refused everywhere when its staleness bound and one second of clock skew
are over after the answer 202 to a revocation that hits it. Which tokens it hits is known in two ways: those that were in
somebody's hands before it was asked for, and those whose decision stands before it in the feed, whenever they came.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from scopes import claims as token_claims
from scopes import jose
from scopes.claims import TOKEN_TYPE
from tests.live.faults.stage import STALENESS

BOUND = STALENESS * 1000 + 1000
"""The milliseconds after the 202 within which the last verifier refuses: the catalogue's staleness and one second of skew."""

UNBOUNDED = 1 << 62

_AT_ONCE = 1_000
"""The milliseconds within which everybody is told where nothing is wrong."""

_KEPT = 300_000
"""The milliseconds for which a few ended tokens are shown on; then they have expired in any case."""


class Token(msgspec.Struct, kw_only=True):
    """A token that was handed out. `asked`, `received` and `ended` are milliseconds of the boot clock."""

    number: int
    text: str
    lease: str
    agent: str
    workload: str
    path: tuple[str, ...]
    resource: str
    action: str
    audience: str
    place: tuple[str, int]
    expires: int
    asked: int
    received: int
    ended: int | None = None
    ended_by: str = ""
    has_record: bool = False
    has_lease: bool = False
    lost: bool = False


class Revocation(NamedTuple):
    """What was answered with 202, and the place of its event in the feed. `drafts` are those of an agent."""

    kind: str
    value: str
    asked: int
    answered: int
    place: tuple[str, int]

    def names(self, token: Token) -> bool:
        """Tell whether the selector fits the token."""
        fitting: Mapping[str, Callable[[], bool]] = {
            "lease": lambda: token.lease == self.value,
            "task": lambda: self.value in token.path,
            "agent": lambda: token.agent == self.value,
            "drafts": lambda: token.agent == self.value and token.action == "draft",
            "instance": lambda: token.workload == self.value,
            "resource": lambda: f"{token.resource}/".startswith((f"{self.value}/", f"{self.value}:")),
            "all": lambda: True,
        }
        return fitting[self.kind]()

    def hits(self, token: Token) -> bool:
        """Tell whether it ends the token: one that was out before it was asked for, or was decided before its event."""
        was_out = token.received <= self.asked
        was_decided = token.place[0] == self.place[0] and token.place[1] < self.place[1]
        return self.names(token) and (was_out or was_decided)


class Reduction(msgspec.Struct):
    """What an operator left of an agent, from the answer 202 until it is asked to restore it; that is not over yet."""

    to: str
    agent: str
    since: int
    until: int = UNBOUNDED

    def forbids(self, token: Token) -> bool:
        """Tell whether the token must not have been given: it was asked for and came while this stood.

        One that came after somebody had asked to restore may have waited for that in front of a slow worker.
        """
        beyond = self.to != "read-only" or token.action == "draft"
        return token.agent == self.agent and beyond and self.since <= token.asked and token.received <= self.until


class Span(msgspec.Struct):
    """A fault from its injection until everything was well again; open ends are not over yet."""

    name: str
    detail: str
    judged: bool
    loses: bool
    injected: int
    healed: int = UNBOUNDED
    recovered: int = UNBOUNDED

    @property
    def told(self) -> str:
        """Its name, and whom it hit where it hits not all."""
        return f"{self.name} ({self.detail})" if self.detail else self.name

    def touches(self, start: int, end: int) -> bool:
        return start <= self.recovered and end >= self.injected


class Violation(NamedTuple):
    """Something that must not be."""

    what: str
    account: str


class Referee:
    """Keeps the book. Called from many threads; `tell` gives every host of verifiers a command."""

    def __init__(self, tell: Callable[..., None], now: Callable[[], int]) -> None:
        self._tell = tell
        self._now = now
        self._lock = threading.RLock()
        self.tokens: dict[int, Token] = {}
        self.by_lease: dict[str, Token] = {}
        self.revocations: list[Revocation] = []
        self.reductions: list[Reduction] = []
        self.spans: list[Span] = []
        self.violations: list[Violation] = []
        self.unjudged: list[Violation] = []
        self.presented: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.delays: dict[str, list[int]] = {"quiet": [], "fault": []}
        self._accepted_by: dict[int, dict[str, tuple[int, int]]] = {}
        self._dropped: set[int] = set()
        self._epoch = ""

    def handed_out(self, text: str, asked: int, received: int) -> Token:
        """Enter a token that a broker answered with, and have it presented everywhere."""
        claims, scope = token_claims.decode(jose.read(text, types=frozenset({TOKEN_TYPE})).unverified_payload)
        with self._lock:
            token = Token(
                number=len(self.tokens),
                text=text,
                lease=claims.jti,
                agent=claims.client_id,
                workload=claims.workload,
                path=claims.lease.path,
                resource=str(scope.resource),
                action=scope.action,
                audience=claims.aud,
                place=(claims.lease.epoch, claims.lease.position),
                expires=claims.exp,
                asked=asked,
                received=received,
            )
            self.tokens[token.number] = self.by_lease[token.lease] = token
            shown = {"token": text, "action": token.action, "resource": token.resource, "audience": token.audience}
            self._tell("present", number=token.number, epoch=token.place[0], **shown)
            self._see_epoch(token.place[0], received)
            for revocation in self.revocations:
                self._end_if_hit(token, revocation)
            for reduction in self.reductions:
                if reduction.forbids(token):
                    self._enter(
                        f"issued though {token.agent} was {reduction.to} since {reduction.since}", token, asked, received
                    )
            if token.place[0] < self._epoch:
                self._end(token, received, f"the epoch {self._epoch}")
            return token

    def revoked(self, revocation: Revocation) -> None:
        """Enter a revocation that was answered with 202."""
        with self._lock:
            self.revocations.append(revocation)
            self._see_epoch(revocation.place[0], revocation.answered)
            for token in self.tokens.values():
                self._end_if_hit(token, revocation)

    def shown_as_refused(self, revocation: Revocation, verifiers: list[str]) -> None:
        """Enter that brokers say of these verifiers that they refuse what the revocation ended."""
        with self._lock:
            tokens = [token.number for token in self.tokens.values() if token.number not in self._dropped]
            hit = [number for number in tokens if revocation.hits(self.tokens[number])]
        self._tell("bind", tokens=hit, verifiers=verifiers)

    def reduced(self, reduction: Reduction, revocation: Revocation) -> None:
        """Enter a reduction that was answered with 202: it ends what is out, and forbids what goes beyond it."""
        with self._lock:
            self.reductions.append(reduction)
            self.revoked(revocation)

    def restored(self, agent: str, asked: int) -> None:
        """Enter that an operator asked to restore an agent, whatever the answer."""
        with self._lock:
            for reduction in self.reductions:
                if reduction.agent == agent:
                    reduction.until = min(reduction.until, asked)

    def _see_epoch(self, epoch: str, at: int) -> None:
        """Once a broker has answered from an epoch, every token of an earlier one is void."""
        if epoch > self._epoch:
            self._epoch = epoch
            self.counts["epochs"] += 1
            for token in self.tokens.values():
                if token.place[0] < epoch:
                    self._end(token, at, f"the epoch {epoch}")

    def _end_if_hit(self, token: Token, revocation: Revocation) -> None:
        if revocation.hits(token):
            self._end(token, revocation.answered, f"{revocation.kind}:{revocation.value}")

    def _end(self, token: Token, at: int, by: str) -> None:
        if token.ended is None or at < token.ended:
            token.ended, token.ended_by = at, by
            self._tell("end", number=token.number, since=at, by=at + BOUND)

    def heard(self, host: str, report: dict[str, Any]) -> None:
        """Take in what a host of verifiers says."""
        with self._lock:
            getattr(self, f"_hear_{report.pop('kind')}")(host, **report)

    def _hear_counts(self, host: str, presented: dict[str, int], **_: Any) -> None:
        self.presented.update(presented)

    def _hear_left(self, host: str) -> None:
        self.counts["hosts that left in peace"] += 1

    def _hear_state(self, host: str, token: int, accepted: int, of: int, at: int) -> None:
        self._accepted_by.setdefault(token, {})[host] = (accepted, of)

    def _hear_delays(self, host: str, token: int, delays: list[int]) -> None:
        entry = self.tokens[token]
        assert entry.ended is not None
        quiet = not any(span.touches(entry.ended, entry.ended + _AT_ONCE) for span in self.spans)
        self.delays["quiet" if quiet else "fault"] += delays

    def _hear_wrong(self, host: str, token: int | None, verifier: str, what: str, at: int) -> None:
        if token is None:
            self._enter(f"a picture {what} at {verifier}", None, at, at)
            return
        entry = self.tokens[token]
        self._enter(f"{what} by {verifier}", entry, entry.ended or at, at)

    def _enter(self, what: str, token: Token | None, start: int, at: int) -> None:
        """Enter a violation; one that a fault can have caused which is not judged is kept apart."""
        spans = [span for span in self.spans if span.touches(start, at)]
        account = f"at {at}, during {', '.join(span.told for span in spans) or 'no fault'}"
        if token is not None:
            account = (
                f"lease {token.lease} of {token.agent} at position {token.place}, handed out at {token.received}, "
                f"ended at {token.ended} by {token.ended_by or 'nothing'}; {account}"
            )
        judged = all(span.judged for span in spans)
        (self.violations if judged else self.unjudged).append(Violation(what, account))

    def blame(self, what: str, token: Token | None = None) -> None:
        """Enter a violation that was found otherwise than by presenting."""
        with self._lock:
            now = self._now()
            self._enter(what, token, token.received if token is not None else now, now)

    def accepted(self, number: int) -> tuple[int, int]:
        """Return how many verifiers accept a token, and how many of its audience have been shown it."""
        with self._lock:
            told = self._accepted_by.get(number, {}).values()
            return sum(accepted for accepted, _ in told), sum(of for _, of in told)

    def pick(self, choose: Callable[[list[Token]], Token], *, most_age: int) -> Token | None:
        """Choose one of the tokens that are out, not ended, and not older than `most_age`."""
        with self._lock:
            since = self._now() - most_age
            live = [token for token in self.tokens.values() if token.ended is None and token.received >= since]
            return choose(live) if live else None

    def drop_settled(self, *, after: int, keep_every: int) -> None:
        """Stop presenting what ended long ago; every so many of them are presented on, to verifiers that start anew."""
        with self._lock:
            now = self._now()
            for token in self.tokens.values():
                if token.number not in self._dropped and now > self._shown_until(token, after, keep_every):
                    self._drop(token)

    def drop_all(self) -> None:
        """Stop presenting, so that every host tells what it saw."""
        with self._lock:
            for token in self.tokens.values():
                if token.number not in self._dropped:
                    self._drop(token)

    def _shown_until(self, token: Token, after: int, keep_every: int) -> int:
        if token.ended is None:
            return token.received + 4 * after + BOUND
        return token.ended + BOUND + after if token.number % keep_every else token.received + _KEPT

    def _drop(self, token: Token) -> None:
        self._dropped.add(token.number)
        self._tell("drop", number=token.number)
