"""The first lock: what a task type allows at most, whatever policy would say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import AccessDenied, InvalidScope
from broker.registry import ceiling
from broker.registry.records import Action, Content, ResourceType, Service, TaskType
from broker.registry.registry import Registry
from scopes.scope import Resource, Scope, ScopePattern
from tests.broker.registry.catalogue import WHOLE, load

FIELDS = ("a", "b", "c")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return load(tmp_path, WHOLE)


def resolved(registry: Registry, text: str) -> str:
    scope = Scope.parse(text)
    return str(ceiling.resolve_fields(scope, registry.entry(scope)))


def check(registry: Registry, text: str, task_type: str = "summarise") -> None:
    scope = Scope.parse(text)
    ceiling.check(scope, task_type, registry.entry(scope), registry)


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ("crm:ticket/1#read[subject,email]", "crm:ticket/1#read[email,subject]"),
        ("crm:ticket/1#read", "crm:ticket/1#read[subject]"),
        ("crm:queue/1#read", "crm:queue/1#read"),
    ],
    ids=["as named", "by default", "no fields in the type"],
)
def test_the_fields_are_spelled_out(registry: Registry, asked: str, means: str) -> None:
    assert resolved(registry, asked) == means


def test_a_missing_list_is_refused_where_the_action_has_no_default_and_the_answer_shows_how(registry: Registry) -> None:
    """Never *all of them*: in a token the list is always explicit when the type has fields (`WIRE.md`)."""
    with pytest.raises(InvalidScope, match=r"crm:ticket/1#reply\[description,email\]"):
        resolved(registry, "crm:ticket/1#reply")


@pytest.mark.parametrize("asked", ["crm:ticket/1#read[subject,nothing]", "crm:queue/1#read[subject]"])
def test_an_unknown_field_is_refused(registry: Registry, asked: str) -> None:
    with pytest.raises(InvalidScope, match=r"has no field (nothing|subject)$"):
        resolved(registry, asked)


@pytest.mark.parametrize(
    "asked",
    [
        "crm:ticket/4711#read[subject]",
        "crm:ticket/4711#read[description,subject]",
        "crm:ticket/4711#reply[subject]",
        "crm:queue/a#read",
        "crm:queue/a/b/c#read",
    ],
)
def test_what_the_task_type_names_is_inside(registry: Registry, asked: str) -> None:
    check(registry, asked)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("crm:ticket/4711/note#read[subject]", "outside_task_type"),
        ("crm:ticket/4711#read[email]", "outside_fields"),
        ("crm:ticket/4711#read[email,subject]", "outside_fields"),
        ("crm:ticket/4711#reply[description]", "outside_fields"),
    ],
)
def test_anything_beyond_is_refused_with_its_reason(registry: Registry, asked: str, reason: str) -> None:
    """TRAPS 14: the field list is enforced. TRAPS 16: `*` is one whole segment."""
    with pytest.raises(AccessDenied) as refused:
        check(registry, asked)
    assert refused.value.reason == reason


def test_a_task_type_that_is_not_there_any_more_allows_nothing(registry: Registry) -> None:
    with pytest.raises(AccessDenied) as refused:
        check(registry, "crm:queue/a#read", "nothing")
    assert refused.value.reason == "outside_task_type"


def test_a_pattern_without_a_list_allows_the_default_fields_and_no_more(tmp_path: Path) -> None:
    registry = load(tmp_path, WHOLE.replace("#read[subject,description]", "#read"))
    check(registry, "crm:ticket/1#read[subject]")
    with pytest.raises(AccessDenied):
        check(registry, "crm:ticket/1#read[description]")


SEGMENTS = st.sampled_from(["1", "2", "x"])
LISTS = st.none() | st.sets(st.sampled_from(FIELDS), min_size=1).map(lambda fields: tuple(sorted(fields)))
DEFAULTS = st.none() | st.sets(st.sampled_from(FIELDS), min_size=1).map(tuple)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map(tuple)
PATTERN_PATHS = st.lists(SEGMENTS | st.just("*"), min_size=0, max_size=2).flatmap(
    lambda head: (SEGMENTS | st.sampled_from(["*", "**"])).map(lambda last: (*head, last))
)
PATTERNS = st.builds(
    ScopePattern, st.just("crm"), st.sampled_from(["note", "plain"]), PATTERN_PATHS, st.sampled_from(["read", "write"]), LISTS
)
SCOPES = st.builds(
    Scope,
    st.builds(Resource, st.just("crm"), st.sampled_from(["note", "plain"]), PATHS),
    st.sampled_from(["read", "write"]),
    LISTS,
)


def registry_of(patterns: list[ScopePattern], default_fields: tuple[str, ...] | None) -> Registry:
    note = ResourceType(
        fields=dict.fromkeys(FIELDS, ()),
        actions={name: Action(level="read", default_fields=default_fields) for name in ("read", "write")},
    )
    plain = ResourceType(actions={name: Action(level="read") for name in ("read", "write")})
    crm = Service(audience="https://crm.test", environment="prod", owner="a", resources={"note": note, "plain": plain})
    task = TaskType(purpose="", max_duration=1, scopes=tuple(map(str, patterns)))
    return Registry(Content(services={"crm": crm}, tasks={"task": task}))


def admitted(registry: Registry, asked: Scope) -> Scope | None:
    """Return what the two steps of the ceiling let through."""
    entry = registry.entry(asked)
    try:
        scope = ceiling.resolve_fields(asked, entry)
        ceiling.check(scope, "task", entry, registry)
    except (InvalidScope, AccessDenied):
        return None
    return scope


def is_below(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Say again, in the plainest way, what a path pattern means."""
    if not pattern or not path:
        return not pattern and not path
    if pattern == ("**",):
        return True
    return pattern[0] in ("*", path[0]) and is_below(pattern[1:], path[1:])


@given(st.lists(PATTERNS, min_size=0, max_size=4), DEFAULTS, SCOPES)
def test_what_the_ceiling_lets_through_is_covered_by_the_patterns_of_the_task_type(
    patterns: list[ScopePattern], default_fields: tuple[str, ...] | None, asked: Scope
) -> None:
    """I3: a token never says more than was in the ceiling."""
    scope = admitted(registry_of(patterns, default_fields), asked)
    if scope is None:
        return
    own = [
        pattern
        for pattern in patterns
        if (pattern.type, pattern.action) == (scope.resource.type, scope.action) and is_below(pattern.path, scope.resource.path)
    ]
    allowed = {field for pattern in own for field in pattern.fields or default_fields or ()}
    assert own
    assert set(scope.fields or ()) <= allowed
    assert (scope.fields is not None) == (scope.resource.type == "note")


@given(st.lists(PATTERNS, min_size=1, max_size=4), DEFAULTS, SCOPES)
def test_what_the_ceiling_lets_through_is_what_was_asked_for(
    patterns: list[ScopePattern], default_fields: tuple[str, ...] | None, asked: Scope
) -> None:
    """Wider fields are refused, never cut: what is granted is what was asked, or what the catalogue says it means."""
    scope = admitted(registry_of(patterns, default_fields), asked)
    if scope is not None:
        assert scope == asked or (asked.fields is None and set(scope.fields or ()) == set(default_fields or ()))


@given(st.lists(PATTERNS, min_size=1, max_size=3), PATTERNS, DEFAULTS, SCOPES)
def test_a_wider_task_type_allows_no_less(
    patterns: list[ScopePattern], more: ScopePattern, default_fields: tuple[str, ...] | None, asked: Scope
) -> None:
    if admitted(registry_of(patterns, default_fields), asked) is not None:
        assert admitted(registry_of([*patterns, more], default_fields), asked) is not None
