"""Who can reach what is exact: for registries and policies of all kinds it is what asking in every context finds."""

import datetime
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import policy as policies
from broker.policy import needs
from broker.policy.dimensions import OTHER, OTHER_SEGMENT
from broker.policy.reach import Reach, Reached
from broker.policy.trials import Trial, Trials
from broker.registry import files

RECORDS = ("crm:ticket/1", f"crm:ticket/{OTHER_SEGMENT}")
VALUES: dict[str, list[Any]] = {
    "proof": ["none", "dpop", "mtls"],
    "approved": [False, True],
    "tainted": [False, True],
    "labels": [
        (),
        ("financial",),
        ("pii",),
        ("public",),
        ("financial", "pii"),
        ("pii", "public"),
        ("financial", "pii", "public"),
    ],
    "hour": list(range(24)),
    "weekday": list(range(1, 8)),
    "ttl": [15, 60, 300],
    "age": [60, 300, 900],
    "depth": [0, 1, 3],
    "refusals": [0, 3, 100],
    "source": ["jwt-svid", "x509-svid"],
    "user": ["", "corp:jane", "prod", OTHER],
    "groups": [(), ("support",), ("sales",), ("support", "help")],
    "reductions": [(), ("read-only",), ("draft-only",), ("draft-only", "read-only")],
    "record": list(RECORDS),
}
"""Everything that a context can be, as far as any of the conditions can tell."""

MANY = 150
"""How many contexts are tried of very many: for each of them all sets of fields are asked for."""

CONDITIONS: dict[str, tuple[str, ...]] = {
    'context.proof != "none"': ("proof",),
    'context.proof == "mtls"': ("proof",),
    "context.approved": ("approved",),
    "context.task.tainted": ("tainted",),
    "context.task.read_sensitive": ("labels",),
    'context.task.labels.contains("pii")': ("labels",),
    'context.task.labels == ["pii"]': ("labels",),
    '["pii", "public"].containsAll(context.task.labels)': ("labels",),
    "context.task.labels.containsAny(context.data_classes)": ("labels",),
    "context.hour < 9": ("hour",),
    "context.hour >= 9 && context.weekday <= 5": ("hour", "weekday"),
    "context.hour + context.weekday > 20": ("hour", "weekday"),
    "context.hour < context.weekday": ("hour", "weekday"),
    "context.ttl <= 60": ("ttl",),
    "context.ttl * 9223372036854775807 > 0": ("ttl",),
    "context.task.age > 300": ("age",),
    "context.task.depth == 0": ("depth",),
    "context.recent_refusals > 3": ("refusals",),
    'context.identity_source == "x509-svid"': ("source", "proof"),
    "context has user": ("user",),
    'context has user && context.user.id == "corp:jane"': ("user",),
    "context has user && context.user.id == principal.environment": ("user",),
    'context has user && context.user.groups.contains("support")': ("user", "groups"),
    'context has user && ["support", "sales"].containsAny(context.user.groups)': ("user", "groups"),
    "context has user && context.user.groups.contains(context.task.purpose_class)": ("user", "groups"),
    'context has user && context.user.groups == ["support"]': ("user", "groups"),
    'context has user && ["support", "sales"].containsAll(context.user.groups)': ("user", "groups"),
    'context.reductions.contains("read-only")': ("reductions",),
    'context.fields.contains("subject")': (),
    'context.data_classes.contains("pii")': (),
    'context.data_classes == ["pii"]': (),
    "context.sensitive": (),
    "context.office_hours": (),
    'resource.data_classes.contains("financial")': (),
    "resource.untrusted": (),
    "principal.environment == resource.environment": (),
    'resource == Record::"crm:ticket/1"': ("record",),
    'resource in [Record::"crm:ticket/1", Record::"crm:ticket/9"]': ("record",),
}
"""What policies can look at, each with the dimensions on which it depends, but for the fields, of which all sets are tried."""


class World(NamedTuple):
    """A small registry and some policies, and the dimensions that they look at."""

    registry: str
    policies: str
    read: frozenset[str]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    classes = st.sampled_from([[], ["pii"], ["financial"], ["public"], ["pii", "financial"]])
    fields = {name: draw(classes) for name in ("subject", "body", "note")}
    level = draw(st.sampled_from(["read", "draft", "trigger"]))
    flag = st.sampled_from(["true", "false"])
    registry = f"""
[data_classes]
pii       = {{}}
financial = {{ office_hours = true }}
public    = {{ sensitive = false }}

[services.crm]
audience    = "https://crm.test"
environment = "{draw(st.sampled_from(["prod", "test"]))}"
owner       = "crm-team@example.com"

[services.crm.resources.ticket]
data_classes = {draw(classes)}
untrusted    = {draw(flag)}
fields       = {{ {", ".join(f"{name} = {listed}" for name, listed in fields.items())} }}

[services.crm.resources.ticket.actions]
act = {{ level = "{level}" }}

[tasks.all]
purpose       = "Everything"
purpose_class = "help"
max_duration  = 900
scopes        = ["crm:ticket/{draw(st.sampled_from("*1"))}#act[{draw(st.sampled_from(["subject", "subject,body"]))}]"]

[agents.bot]
owner       = "jane@example.com"
purpose     = "Drafting"
environment = "prod"
workloads   = [{{ spiffe = "spiffe://prod/bot" }}]
tasks       = ["all"]
ends        = 2099-06-30
"""
    written, read = draw(policies_for(level))
    return World(registry, written, read)


@st.composite
def policies_for(draw: st.DrawFn, level: str) -> tuple[str, frozenset[str]]:
    written, read = [], set[str]()
    for number in range(draw(st.integers(1, 3))):
        effect = "permit" if number == 0 else draw(st.sampled_from(["permit", "forbid", "forbid"]))
        head = draw(st.sampled_from(["action", f'action in Action::"{level}"', 'action == Action::"crm:ticket#act"']))
        principal = draw(st.sampled_from(["principal is Agent", 'principal == Agent::"bot"']))
        conditions = draw(st.lists(st.sampled_from(sorted(CONDITIONS)), min_size=1, max_size=2, unique=True))
        read |= {name for condition in conditions for name in CONDITIONS[condition]}
        joined = draw(st.sampled_from([" && ", " || "])).join(f"({condition})" for condition in conditions)
        when = draw(st.sampled_from(["when", "unless"]))
        written.append(f'@id("p{number}") {effect} ({principal}, {head}, resource is Record) {when} {{ {joined} }};')
    return "\n".join(written), frozenset(read)


def trials_of(folder: Path, registry: str, *texts: str) -> Trials:
    folder.mkdir(exist_ok=True)
    (folder / "all.toml").write_text(registry)
    known = files.load(folder)
    return Trials(policies.parse(dict(zip("abc", texts, strict=False)), known, where="here"), known, max_ttl=900)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(world=worlds(), data=st.data())
def test_what_can_be_reached_is_what_asking_in_every_context_finds(tmp_path: Path, world: World, data: st.DataObject) -> None:
    """For every context, and each field: it is in one of the ways if, and only if, some request for it would be allowed."""
    trials = trials_of(tmp_path, world.registry, world.policies)
    rows = list(Reach(trials).rows())
    fields = sorted(field for row in rows for field in row.fields)
    assert all(row.is_exact for row in rows)
    for context in contexts(world.read, data):
        if not is_possible(context, rows[0]):
            continue
        had = {field for some in subsets(fields) if trials.decide(trial(context, some)).allowed for field in some}
        told = {field for row in rows for field in row.fields if is_reached(row, context)}
        assert told == had, context


def contexts(read: frozenset[str], data: st.DataObject) -> Iterator[dict[str, Any]]:
    """Yield every context, as far as policies can tell one from another; many, where there are very many.

    What none of the policies looks at is drawn.
    """
    chosen = {name: values if name in read else [data.draw(st.sampled_from(values))] for name, values in VALUES.items()}
    every = list(itertools.product(*chosen.values()))
    some = every if len(every) <= MANY else data.draw(st.randoms(use_true_random=False)).sample(every, MANY)
    for values in some:
        yield dict(zip(chosen, values, strict=True))


def is_possible(context: Mapping[str, Any], row: Reached) -> bool:
    """Tell whether there can be such a request at all: by what it shows, for whom it is, and what is reduced."""
    passing = {"read": {"read-only", "draft-only"}, "draft": {"draft-only"}, "trigger": set[str]()}[row.level]
    return (
        (context["source"], context["proof"]) != ("x509-svid", "none")
        and (bool(context["user"]) or not context["groups"])
        and passing.issuperset(context["reductions"])
        and ("*" in row.pattern or context["record"] == RECORDS[0])
    )


def subsets(fields: list[str]) -> Iterator[tuple[str, ...]]:
    for size in range(1, len(fields) + 1):
        yield from itertools.combinations(fields, size)


def trial(context: Mapping[str, Any], fields: tuple[str, ...]) -> Trial:
    day = datetime.datetime(2027, 1, 4, tzinfo=datetime.UTC) + datetime.timedelta(days=context["weekday"] - 1)
    return Trial(
        agent="bot",
        scope=f"{context['record']}#act[{','.join(fields)}]",
        task="all",
        within=("all",) * context["depth"],
        proof=context["proof"],
        at=day.replace(hour=context["hour"]),
        ttl=context["ttl"],
        age=context["age"],
        recent_refusals=context["refusals"],
        tainted=context["tainted"],
        labels=context["labels"],
        approved=context["approved"],
        reductions=context["reductions"],
        user=context["user"],
        groups=context["groups"],
        identity_source=context["source"],
    )


def is_reached(row: Reached, context: Mapping[str, Any]) -> bool:
    """Tell whether a context is one of those that the row's ways describe."""
    ways = (((value_of(name, context, row), values) for name, values in way.items()) for way in row.ways)
    return any(all(value in values for value, values in way) for way in ways)


def value_of(name: str, context: Mapping[str, Any], row: Reached) -> Any:
    kind, _, what = name.partition(":")
    if kind == "label":
        return not set(what.split(",")).isdisjoint(context["labels"])
    if name == f"group:{OTHER}":
        return any(f"group:{group}" not in row.domains for group in context["groups"])
    if kind in ("group", "reduction"):
        return what in context[f"{kind}s"]
    if kind == "user":
        return context["user"] if context["user"] in row.domains["user"] else OTHER
    return {"identity": (context["source"], "prod"), "recent_refusals": context["refusals"], **context}[kind]


SMALL = """
[services.crm]
audience    = "https://crm.test"
environment = "prod"
owner       = "crm-team@example.com"

[services.crm.resources.ticket.actions]
read = { level = "read" }

[tasks.all]
purpose      = "Everything"
max_duration = 900
scopes       = ["crm:ticket/*#read"]

[agents.bot]
owner       = "jane@example.com"
purpose     = "Drafting"
environment = "prod"
workloads   = [{ spiffe = "spiffe://prod/bot" }]
tasks       = ["all"]
ends        = 2099-06-30
"""


@pytest.mark.parametrize(
    ("condition", "is_exact"),
    [
        ('context.user.id == "corp:jane"', True),
        ('context.user.groups.contains("support")', True),
        ('principal.owner like "*@example.com"', True),
        ('context.user.id like "corp:*"', False),
        ("context.user.groups.contains(context.user.id)", False),
        ('context.user == {id: "corp:jane", groups: ["support"]}', False),
        ('[{id: "corp:jane", groups: ["support"]}].contains(context.user)', False),
    ],
)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_what_cannot_be_counted_is_not_told_as_exact(tmp_path: Path, effect: str, condition: str, is_exact: bool) -> None:
    """Unknown means no: nobody is to take it for certain that a name that is not told is given nothing."""
    permit = '@id("all") permit (principal is Agent, action, resource is Record);'
    text = f'@id("some") {effect} (principal is Agent, action, resource is Record) when {{ context has user && {condition} }};'
    assert {row.is_exact for row in Reach(trials_of(tmp_path, SMALL, permit, text)).rows()} == {is_exact}


def test_groups_that_no_policy_names_are_one_more_that_a_user_can_be_in(tmp_path: Path) -> None:
    condition = 'context has user && context.user.groups == ["support"]'
    text = f'@id("some") permit (principal is Agent, action, resource is Record) when {{ {condition} }};'
    (row,) = Reach(trials_of(tmp_path, SMALL, text)).rows()
    assert [needs.said(way, row.domains)[:2] for way in row.ways] == [("a user in no other group", "a user in support")]


def reached(folder: Path, *conditions: str) -> bool:
    """Tell whether anything can be reached by policies that permit under these conditions."""
    texts = (f'@id("p{n}") permit (principal is Agent, action, resource is Record) when {{ {condition} }};'
             for n, condition in enumerate(conditions))  # fmt: skip
    (row,) = Reach(trials_of(folder, SMALL, *texts)).rows()
    return bool(row.ways)


def test_where_a_policy_errs_nothing_is_reached_whatever_others_permit(tmp_path: Path) -> None:
    """Policy error means no (`DESIGN.md` I5)."""
    assert reached(tmp_path, "true")
    assert not reached(tmp_path, "true", "context.ttl * 9223372036854775807 > 0")


@pytest.mark.parametrize(("effect", "is_reached"), [("permit", False), ("forbid", True)])
def test_a_policy_in_shadow_mode_has_no_say(tmp_path: Path, effect: str, is_reached: bool) -> None:
    """Neither in what is given, nor in how exactly that is known."""
    condition = 'context has user && (context.user.id like "corp:*" || true) || !(context has user)'
    text = f'@shadow @id("tried") {effect} (principal is Agent, action, resource is Record) when {{ {condition} }};'
    obeyed = '@id("all") permit (principal is Agent, action, resource is Record);' if is_reached else ""
    (row,) = Reach(trials_of(tmp_path, SMALL, obeyed, text)).rows()
    assert (bool(row.ways), row.is_exact) == (is_reached, True)


def test_a_policy_about_something_else_has_no_say(tmp_path: Path) -> None:
    operation = '@id("watch") permit (principal is Operator, action == Action::"watch", resource is Fleet);'
    (row,) = Reach(trials_of(tmp_path, SMALL, operation)).rows()
    assert (row.ways, row.is_exact) == ((), True)


@pytest.mark.parametrize(
    "condition",
    [
        'context.identity_source == "x509-svid" && context.proof == "none"',
        'context has user && context.user.id == "" && context.user.groups.contains("support")',
        "context.task.depth > 3",
        "context.ttl > 300",
        "context.task.age > 900",
        'context.identity_source == "oidc"',
        'resource == Record::"crm:note/1"',
    ],
)
def test_what_cannot_be_is_not_reached(tmp_path: Path, condition: str) -> None:
    assert not reached(tmp_path, condition)


@pytest.mark.parametrize(
    "condition",
    [
        'context.identity_source == "x509-svid" && context.proof == "mtls"',
        'context has user && context.user.id == "corp:jane" && context.user.groups.contains("support")',
        "context.task.depth == 3",
        "context.ttl >= 300",
        "context.task.age == 900",
        "context.hour == 23 && context.weekday == 7",
        "context.recent_refusals == 100",
        'resource == Record::"crm:ticket/1"',
    ],
)
def test_what_can_be_just_so_is_reached(tmp_path: Path, condition: str) -> None:
    """At the end of every scale."""
    assert reached(tmp_path, condition)


def test_each_record_that_a_head_names_is_reached(tmp_path: Path) -> None:
    text = '@id("rID") permit (principal is Agent, action, resource == Record::"crm:ticket/ID");'
    (row,) = Reach(trials_of(tmp_path, SMALL, text.replace("ID", "1"), text.replace("ID", "9"))).rows()
    assert [needs.said(way, row.domains) for way in row.ways] == [("only crm:ticket/1 or crm:ticket/9",)]


def test_a_policy_about_whatever_there_is_is_about_records_too(tmp_path: Path) -> None:
    (row,) = Reach(trials_of(tmp_path, SMALL, '@id("all") permit (principal, action, resource);')).rows()
    assert row.ways == ({},)


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        ('context.reductions.contains("read-only")', "no reduction to read-only"),
        ('context.reductions.contains("draft-only")', "no reduction to draft-only"),
        ("context.task.tainted", "an untainted tree"),
        ("context.approved", "no approval"),
        ('context.proof == "none"', "a proof"),
        ("context.task.depth > 0", "no task above it"),
        ("context has user", "no user"),
    ],
)
def test_of_what_is_forbidden_in_one_case_only_the_contrary_is_needed(tmp_path: Path, condition: str, needed: str) -> None:
    permit = '@id("all") permit (principal is Agent, action, resource is Record);'
    forbid = f'@id("some") forbid (principal is Agent, action, resource is Record) when {{ {condition} }};'
    (row,) = Reach(trials_of(tmp_path, SMALL, permit, forbid)).rows()
    assert [needs.said(way, row.domains) for way in row.ways] == [(needed,)]
