"""What the answer to a request can depend on, and every value of it that policies can tell from another."""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from broker.policy import boxes, named, windows
from broker.policy.boxes import Box
from broker.policy.facts import AGES, OLD, REFUSALS, TTLS, Moment, band
from broker.policy.policies import PolicyFolder
from broker.policy.trials import MONDAY, Trial
from broker.registry.records import AgentRecord
from broker.registry.registry import Entry, Registry
from broker.workload import PRIVATE_KEY
from scopes.claims import MAX_PATH
from scopes.levels import is_above
from scopes.scope import Resource, Scope, ScopePattern

OTHER = "(any other)"
"""Stands for every value that policies do not name."""

_NUMBERS = ("hour", "weekday", "ttl", "age", "depth", "recent_refusals")
_OF_FIELDS = frozenset({"fields", "data_classes", "sensitive", "office_hours"})
_OF_LABELS = frozenset({"labels", "read_sensitive"})
_OF_USERS = frozenset({"user", "id", "groups"})
_ONE_EACH = {
    "proof": "proof",
    "approved": "approved",
    "tainted": "tainted",
    "identity_source": "identity",
    "trust_domain": "identity",
    **{number: number for number in _NUMBERS},
}


class Place(NamedTuple):
    """An agent, a type of its tasks, and a pattern of that type's ceiling."""

    agent: str
    task_type: str
    pattern: ScopePattern
    registry: Registry

    @property
    def record(self) -> AgentRecord:
        """The agent's record."""
        return self.registry.agent(self.agent).record

    @property
    def entry(self) -> Entry:
        """What the catalogue says of the action."""
        pattern = self.pattern
        return self.registry.entry(Scope(Resource(pattern.service, pattern.type, ("-",)), pattern.action))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be asked for inside the pattern."""
        return self.pattern.fields or self.entry.action.default_fields or ()


class Dimensions:
    """All dimensions of a place. `domains` are their values; `impossible` is what cannot be, whatever policies say."""

    def __init__(self, place: Place, policies: named.Policies, folder: PolicyFolder, *, max_ttl: int) -> None:
        """Prepare for policies, as `policies.each` writes them, of a folder."""
        self.place = place
        self._policies = policies
        self.records = tuple(_records(place.pattern, folder.records))
        self._fields = _alike(place, policies)
        self._labels = _labels(place, policies, folder)
        # A policy may ask for these groups and no others.
        self._groups = (*_named(place, policies, "groups"), OTHER) if "groups" in folder.reads else ()
        self.domains = {name: frozenset(values) for name, values in self._values(max_ttl)}
        self.impossible = tuple(self._impossible())
        self.is_exact = not (named.has_patterns(policies, "id") or _is_open(policies) or named.has_whole(policies))

    def points(self, folder: PolicyFolder, text: str) -> Iterator[Box]:
        """Yield every combination of what one policy can look at and tell apart, as boxes that have nothing in common."""
        bounds = named.bounds(text)
        names = [name for name in self.domains if self._is_read(name, folder)]
        values = [list(_together(name, self.domains[name], bounds)) for name in names]
        for combination in itertools.product(*values):
            yield dict(zip(names, combination, strict=True))

    def trial(self, values: Mapping[str, Any]) -> Trial:
        """Return a request in a context; of dimensions that are not named it has any value."""
        chosen = {**{name: min(domain, key=repr) for name, domain in self.domains.items()}, **values}
        source, trust = chosen["identity"]
        type = self.place.task_type
        user = chosen["user"]
        return Trial(
            agent=self.place.agent,
            scope=self._scope(chosen),
            task=type,
            within=(type,) * chosen["depth"],
            proof=chosen["proof"],
            at=windows.moved(MONDAY, Moment(chosen["hour"], chosen["weekday"])),
            ttl=chosen["ttl"],
            age=chosen["age"],
            recent_refusals=chosen["recent_refusals"],
            tainted=chosen["tainted"],
            labels=tuple(alike[0] for alike in self._labels if chosen[_label(alike)]),
            approved=chosen["approved"],
            reductions=tuple(name.partition(":")[2] for name in self.domains if name.startswith("reduction:") and chosen[name]),
            user=user,
            groups=tuple(group for group in self._groups if chosen[f"group:{group}"]) if user else (),
            identity_source=source,
            trust_domain=trust,
        )

    def by_field(self, allowed: Sequence[Box]) -> Iterator[tuple[tuple[str, ...], list[Box]]]:
        """Yield fields that no policy can tell apart, with the contexts in which they are given; once where there are none."""
        dimensions = [f"field:{first}" for first, *_ in self._fields]
        for fields, name in zip(self._fields, dimensions, strict=True):
            having = [found for box in allowed if (found := boxes.both(box, {name: frozenset({True})})) is not None]
            yield fields, self._widest(boxes.projected(having, dimensions))
        if not self._fields:
            needs_fields = bool(self.place.entry.resource_type.fields)
            yield (), [] if needs_fields else self._widest(allowed)

    def _widest(self, allowed: Sequence[Box]) -> list[Box]:
        return boxes.widest(allowed, self.domains, free=self.impossible)

    def _values(self, max_ttl: int) -> Iterator[tuple[str, Sequence[Hashable]]]:
        entry = self.place.entry
        longest = min(entry.action.max_ttl, max_ttl)
        yield "proof", ("none", "dpop", "mtls")
        yield from ((name, (False, True)) for name in ("approved", "tainted"))
        yield "hour", range(24)
        yield "weekday", range(1, 8)
        yield "ttl", [ttl for ttl in TTLS if ttl <= band(longest, TTLS, beyond=TTLS[-1])]
        yield "age", list(_ages(self.place))
        yield "depth", range(MAX_PATH)
        yield "recent_refusals", REFUSALS
        yield "identity", list(_identities(self.place.record))
        yield "user", ["", *_named(self.place, self._policies, "id"), OTHER]
        yield "record", self.records
        yield from ((f"group:{group}", (False, True)) for group in self._groups)
        yield from ((_label(alike), (False, True)) for alike in self._labels)
        yield from ((f"field:{first}", (False, True)) for first, *_ in self._fields)
        for to, highest in (("read-only", "read"), ("draft-only", "draft")):
            if not is_above(entry.action.level, highest):
                yield f"reduction:{to}", (False, True)

    def _impossible(self) -> Iterator[Box]:
        if self._fields:
            yield {f"field:{first}": frozenset({False}) for first, *_ in self._fields}
        # Whoever shows a certificate has a token that is bound to it, or to the key of a proof.
        certified = frozenset(identity for identity in self.domains["identity"] if identity[0] == "x509-svid")  # type: ignore[index]
        if certified:
            yield {"identity": certified, "proof": frozenset({"none"})}
        for group in self._groups:
            yield {"user": frozenset({""}), f"group:{group}": frozenset({True})}

    def _is_read(self, name: str, folder: PolicyFolder) -> bool:
        """Tell whether a policy that looks at these attributes can tell values of the dimension apart."""
        reads, kind = folder.reads, name.partition(":")[0]
        is_by_label = not reads.isdisjoint(_OF_LABELS)
        if kind == "field":
            # What is read is a label at once.
            return not reads.isdisjoint(_OF_FIELDS) or (is_by_label and self.place.entry.action.level == "read")
        if kind in ("user", "group"):
            return not reads.isdisjoint(_OF_USERS)
        if kind == "label":
            return is_by_label
        if kind == "record":
            return bool(folder.records)
        if kind == "reduction":
            return "reductions" in reads
        return any(dimension == name for attribute, dimension in _ONE_EACH.items() if attribute in reads)

    def _scope(self, chosen: Mapping[str, Any]) -> str:
        alike = [fields for fields in self._fields if chosen[f"field:{fields[0]}"]] or list(self._fields[:1])
        wanted = tuple(sorted(field for fields in alike for field in fields))
        resource = Resource.parse(chosen["record"])
        return str(Scope(resource, self.place.pattern.action, wanted or None))


def _records(pattern: ScopePattern, known: frozenset[str]) -> Iterator[str]:
    """Yield the records that policies name inside the pattern, and one that stands for all others, where there are others."""
    inside = [record for record in sorted(known) if pattern.matches(_scope_of(record, pattern))]
    yield from inside
    other = _other_record(pattern)
    if other not in inside:
        yield other


def _scope_of(record: str, pattern: ScopePattern) -> Scope:
    return Scope(Resource.parse(record), pattern.action)


def _other_record(pattern: ScopePattern) -> str:
    path = tuple(OTHER_SEGMENT if segment in ("*", "**") else segment for segment in pattern.path)
    return str(Resource(pattern.service, pattern.type, path))


OTHER_SEGMENT = "any.other~"
"""The name of a record that no policy names."""


def _alike(place: Place, policies: named.Policies) -> tuple[tuple[str, ...], ...]:
    """Return the fields, those together that no policy can tell apart: of the same classes of data, and not named."""
    told_apart = named.texts(policies, "fields") | (set(place.fields) if named.attributes(policies, "fields") else set())
    known = place.entry.resource_type.fields
    found: dict[Hashable, list[str]] = {}
    for field in place.fields:
        found.setdefault(field if field in told_apart else known.get(field, ()), []).append(field)
    return tuple(map(tuple, found.values()))


def _labels(place: Place, policies: named.Policies, folder: PolicyFolder) -> tuple[tuple[str, ...], ...]:
    """Return the classes of data, those together that no policy can tell apart: not named, and alike in being sensitive."""
    if folder.reads.isdisjoint(_OF_LABELS):
        return ()
    known = place.registry.content.data_classes
    classes = sorted(place.registry.data_classes | known.keys())
    told_apart = set(classes) if named.attributes(policies, "labels") else named.texts(policies, "labels")
    found: dict[Hashable, list[str]] = {}
    for name in classes:
        is_sensitive = name not in known or known[name].sensitive
        found.setdefault(name if name in told_apart else is_sensitive, []).append(name)
    return tuple(map(tuple, found.values()))


def _label(alike: tuple[str, ...]) -> str:
    return f"label:{','.join(alike)}"


def _named(place: Place, policies: named.Policies, attribute: str) -> tuple[str, ...]:
    """Return what policies hold users or groups against: what they name, and what stands in the attributes they name."""
    entry, task = place.entry, place.registry.task_type(place.task_type)
    record = place.record
    standing: dict[str, Iterable[str]] = {
        "owner": [record.owner],
        "environment": [record.environment, entry.service.environment],
        "trust_domain": [trust for _, trust in _identities(record)],
        "service": [place.pattern.service],
        "type": [place.pattern.type, place.task_type],
        "purpose_class": [task.purpose_class if task is not None else ""],
        "level": [entry.action.level],
        "data_classes": place.registry.data_classes,
        "labels": place.registry.data_classes,
        "fields": place.fields,
    }
    against = named.attributes(policies, attribute)
    values = {value for name in against for value in standing.get(name, ())}
    return tuple(sorted((named.texts(policies, attribute) | values) - {""}))


def _is_open(policies: named.Policies) -> bool:
    """Tell whether policies hold users against their own groups: then any name may be one of them."""
    return "groups" in named.attributes(policies, "id")


def _ages(place: Place) -> Iterator[int]:
    task = place.registry.task_type(place.task_type)
    longest = band(task.max_duration, AGES, beyond=OLD) if task is not None else OLD
    yield from (age for age in (*AGES, OLD) if age <= longest)


def _identities(record: AgentRecord) -> Iterator[tuple[str, str]]:
    for selector in record.workloads:
        trust = selector.trust or ""
        yield from ((source, trust) for source in (("oidc",) if selector.spiffe is None else ("jwt-svid", "x509-svid")))
    if record.keys:
        yield "private-key", PRIVATE_KEY


def _together(name: str, values: frozenset[Any], bounds: frozenset[int] | None) -> Iterator[frozenset[Any]]:
    """Yield values, those together that no comparison with one of the bounds can tell apart."""
    if name not in _NUMBERS or bounds is None:
        yield from (frozenset({value}) for value in sorted(values, key=repr))
        return
    for _, run in itertools.groupby(sorted(values), lambda value: [(value < bound, value == bound) for bound in bounds]):
        yield frozenset(run)
