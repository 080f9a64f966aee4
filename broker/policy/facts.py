"""What policies see of a request, apart from the moment: the same facts have the same answer under the same policies.

Numbers that differ from request to request are rounded up to a band, so that many requests share their facts: rounded up, for
what lives longer, is older or was refused more often is never the safer one.
"""

import datetime
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from broker.policy.decision import Question
from broker.registry.registry import Registry

TTLS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Bands of a token's life, in seconds; the last is the longest that there is."""

AGES = (60, 300, 900, 3600, 14_400, 86_400)
"""Bands of a task's age, in seconds. Older than the last is `OLD`."""

OLD = 31_536_000

_HOUR = 3_600_000

REFUSALS = (0, 1, 3, 10, 30, 100)
"""Bands of the number of refusals an agent heard lately. More than the last is as many."""

UNNAMED = "*"
"""A user or an agent whose name is left out, because no policy looks at it; nobody is called so."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that decides but the moment. `ttl` and `age` are seconds, `record` is its type where no policy names records.

    `action` is the catalogue's, like `crm:ticket#read`; `approved` says that a person said yes to this very request.
    """

    agent: str
    trust_domain: str
    identity_source: str
    task_type: str
    action: str
    record: str
    ttl: int
    depth: int = 0
    age: int = AGES[0]
    fields: tuple[str, ...] = ()
    proof: str = "none"
    tainted: bool = False
    labels: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    reductions: tuple[str, ...] = ()
    recent_refusals: int = 0
    approved: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """Service, resource type and action of the catalogue."""
        service, _, rest = self.action.partition(":")
        type, _, action = rest.partition("#")
        return service, type, action


class Moment(NamedTuple):
    """When it is decided, as far as policies see it: the hour and the weekday (1 is Monday), in UTC."""

    hour: int
    weekday: int

    @classmethod
    def at(cls, milliseconds: int) -> "Moment":
        """Return the moment at this time since the Unix epoch."""
        return _of_hour(milliseconds // _HOUR)


@lru_cache(maxsize=1024)
def _of_hour(number: int) -> Moment:
    begins = datetime.datetime.fromtimestamp(number * _HOUR / 1000, tz=datetime.UTC)
    return Moment(begins.hour, begins.isoweekday())


class Seen(msgspec.Struct, frozen=True):
    """What an audit record keeps of a decision: the facts and the moment, so that it can be taken again."""

    facts: Facts
    hour: int
    weekday: int

    @property
    def moment(self) -> Moment:
        """When it was decided."""
        return Moment(self.hour, self.weekday)


class Kept(NamedTuple):
    """Which names the policies look at; others are left out, so that requests that differ in them alone are one."""

    record_ids: bool
    user_ids: bool


def facts_of(question: Question, *, kept: Kept, now: int) -> Facts:
    """Collect the facts of a question; `now` is in milliseconds."""
    resource, task = question.scope.resource, question.task
    return Facts(
        agent=question.agent.name,
        trust_domain=question.workload.trust,
        identity_source=question.workload.source,
        task_type=task.type,
        action=action_name(resource.service, resource.type, question.scope.action),
        record=str(resource) if kept.record_ids else f"{resource.service}:{resource.type}",
        ttl=band(question.ttl, TTLS, beyond=TTLS[-1]),
        depth=len(task.path) - 1,
        age=band(max(now - task.created, 0) // 1000, AGES, beyond=OLD),
        fields=question.scope.fields or (),
        proof=question.proof,
        tainted=question.exposure.tainted,
        labels=tuple(sorted(question.exposure.labels)),
        user=task.user if kept.user_ids or not task.user else UNNAMED,
        groups=tuple(sorted(task.groups)),
        reductions=question.reductions,
        recent_refusals=band(question.recent_refusals, REFUSALS, beyond=REFUSALS[-1]),
        approved=question.approved,
    )


def action_name(service: str, type: str, action: str) -> str:
    """Name an action of the catalogue as Cedar knows it."""
    return f"{service}:{type}#{action}"


def band(number: int, bands: Sequence[int], *, beyond: int) -> int:
    """Round a number up to its band."""
    return next((end for end in bands if number <= end), beyond)


def sensitive(classes: frozenset[str], registry: Registry) -> Iterator[str]:
    """Yield those of the classes that are sensitive: all but those that were declared not to be."""
    known = registry.content.data_classes
    yield from (name for name in sorted(classes) if name not in known or known[name].sensitive)
