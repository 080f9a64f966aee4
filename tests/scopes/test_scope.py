import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes.errors import InvalidScope
from scopes.scope import Resource, Scope, ScopePattern, canonical_prefix, is_name, prefix_covers
from tests.scopes import vectors

VECTORS = vectors.read("scopes.json")

names = st.from_regex(r"[a-z][a-z0-9_-]{0,5}", fullmatch=True)
segments = st.text("ab.1~@+=-", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
paths = st.lists(segments, min_size=1, max_size=4).map(tuple)
resources = st.builds(Resource, names, names, paths)
some_fields = st.sets(names, min_size=1, max_size=4).map(lambda fields: tuple(sorted(fields)))
field_lists = st.none() | some_fields
scopes = st.builds(Scope, resources, names, field_lists)
# Few fields of one resource, so that scopes that cover each other are common.
alike = st.builds(
    Scope,
    st.just(Resource("crm", "ticket", ("1",))),
    st.just("read"),
    st.none() | st.sets(st.sampled_from("abc"), min_size=1).map(lambda fields: tuple(sorted(fields))),
)
pattern_paths = st.tuples(st.lists(segments | st.just("*"), max_size=3), segments | st.sampled_from(["*", "**"])).map(
    lambda parts: (*parts[0], parts[1])
)


def _is_scope(text: str) -> bool:
    try:
        Scope.parse(text)
    except InvalidScope:
        return False
    return True


@pytest.mark.parametrize("case", VECTORS["valid"], ids=lambda case: case["text"][:40])
def test_a_scope_has_one_spelling(case):
    assert str(Scope.parse(case["text"])) == case["canonical"]
    assert Scope.parse(case["canonical"]) == Scope.parse(case["text"])


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["why"])
def test_what_is_not_a_scope_is_refused(case):
    with pytest.raises(InvalidScope):
        Scope.parse(case["text"])


@pytest.mark.parametrize("case", VECTORS["patterns"], ids=lambda case: case["pattern"])
def test_a_pattern_matches_by_whole_segments(case):
    """`ticket/47` is not `ticket/4711` (TRAPS 16)."""
    pattern = ScopePattern.parse(case["pattern"])
    assert [text for text in case["matches"] if not pattern.matches(Scope.parse(text))] == []
    assert [text for text in case["does_not_match"] if pattern.matches(Scope.parse(text))] == []


@pytest.mark.parametrize("text", VECTORS["invalid_patterns"])
def test_what_is_not_a_pattern_is_refused(text):
    with pytest.raises(InvalidScope):
        ScopePattern.parse(text)


@pytest.mark.parametrize("case", VECTORS["prefixes"], ids=lambda case: case["prefix"])
def test_a_prefix_ends_at_a_whole_segment(case):
    """A revocation of `ticket/47` does not touch `ticket/4711`, and none of `crm` touches `crm2` (TRAPS 16)."""
    prefix = canonical_prefix(case["prefix"])
    assert [text for text in case["covers"] if not prefix_covers(prefix, Resource.parse(text))] == []
    assert [text for text in case["does_not_cover"] if prefix_covers(prefix, Resource.parse(text))] == []


@pytest.mark.parametrize("text", VECTORS["invalid_prefixes"])
def test_what_is_not_a_prefix_is_refused(text):
    with pytest.raises(InvalidScope):
        canonical_prefix(text)


@pytest.mark.parametrize("text", ["crm", "crm:ticket", "crm:ticket/47#read", "crm:ticket/..", "crm:ticket/*", ""])
def test_what_is_not_a_resource_is_refused(text):
    with pytest.raises(InvalidScope):
        Resource.parse(text)


def test_512_bytes_are_a_scope_and_one_more_is_none():
    path = "/".join(["a" * 100] * 4)
    exactly = f"s:t/{path}/{'a' * (512 - len(path) - 10)}#read"
    assert len(exactly) == 512
    assert _is_scope(exactly)
    assert not _is_scope(exactly + "s")


def test_a_refusal_does_not_repeat_control_characters():
    """What an agent wrote ends in logs (TRAPS 26)."""
    with pytest.raises(InvalidScope) as refusal:
        Scope.parse("crm:ticket/\u001b[2J\n#read")
    assert str(refusal.value).isprintable()


def test_a_name_is_lower_case_and_ascii():
    assert is_name("customer_2-b")
    assert not any(map(is_name, ["", "Customer", "2b", "größe", "a b", "a\n", "a" * 64]))


def test_a_scope_without_fields_is_neither_all_fields_nor_none():
    """An absent list never means everything (TRAPS 14)."""
    bare, listed = Scope.parse("crm:ticket/1#read"), Scope.parse("crm:ticket/1#read[subject]")
    assert not bare.covers(listed)
    assert not listed.covers(bare)
    with pytest.raises(InvalidScope):
        bare.narrow(["subject"])


@pytest.mark.parametrize("other", ["crm:ticket/1#write[subject]", "crm:ticket/2#read[subject]", "kb:ticket/1#read[subject]"])
def test_a_scope_covers_no_other_action_or_resource(other):
    assert not Scope.parse("crm:ticket/1#read[subject]").covers(Scope.parse(other))


def test_a_narrowed_scope_says_the_fields_that_are_left_and_each_once():
    whole = Scope.parse("crm:ticket/1#read[description,email,subject]")
    assert str(whole.narrow(["subject", "description", "subject"])) == "crm:ticket/1#read[description,subject]"


@pytest.mark.parametrize("fields", [[], ["email"], ["subject", "email"]])
def test_a_scope_cannot_be_narrowed_to_nothing_or_to_more(fields):
    """A child never gets more than its parent, and empty means no."""
    with pytest.raises(InvalidScope):
        Scope.parse("crm:ticket/1#read[description,subject]").narrow(fields)


@given(scopes)
def test_parsing_what_is_printed_gives_the_same_scope(scope):
    assert Scope.parse(str(scope)) == scope
    assert Resource.parse(str(scope.resource)) == scope.resource


@given(names, names, pattern_paths, names, field_lists)
def test_parsing_a_printed_pattern_gives_the_same_pattern(service, kind, path, action, fields):
    pattern = ScopePattern(service, kind, path, action, fields)
    assert ScopePattern.parse(str(pattern)) == pattern


@given(st.text(max_size=30) | st.text("abz:/#[],.*% \n", max_size=30))
def test_any_text_is_a_canonical_scope_or_refused(text):
    if _is_scope(text):
        assert Scope.parse(str(Scope.parse(text))) == Scope.parse(text)


@given(alike, alike, alike)
def test_covering_is_a_partial_order(a, b, c):
    assert a.covers(a)
    assert not (a.covers(b) and b.covers(a)) or a == b
    assert not (a.covers(b) and b.covers(c)) or a.covers(c)


@given(st.builds(Scope, resources, names, some_fields), st.data())
def test_what_is_narrowed_is_covered_and_says_what_was_asked(scope, data):
    fields = data.draw(st.lists(st.sampled_from(scope.fields), min_size=1))
    narrowed = scope.narrow(fields)
    assert scope.covers(narrowed)
    assert set(narrowed.fields) == set(fields)
    assert Scope.parse(str(narrowed)) == narrowed


@given(paths, paths)
def test_a_pattern_without_wildcards_matches_its_own_path_only(pattern, path):
    assert ScopePattern("s", "t", pattern, "read").matches(Scope(Resource("s", "t", path), "read")) == (pattern == path)


@given(pattern_paths, paths)
def test_a_wildcard_never_reaches_over_a_segment_boundary(pattern, path):
    """Whatever a pattern matches has, segment by segment, what the pattern names (TRAPS 16)."""
    matched = ScopePattern("s", "t", pattern, "read").matches(Scope(Resource("s", "t", path), "read"))
    named = pattern[:-1] if pattern[-1] == "**" else pattern
    long_enough = len(path) > len(named) if pattern[-1] == "**" else len(path) == len(named)
    assert matched == (long_enough and all(want in ("*", own) for want, own in zip(named, path, strict=False)))


@given(resources, resources)
def test_a_prefix_covers_exactly_what_is_below_it(prefix, resource):
    below = resource[:2] == prefix[:2] and resource.path[: len(prefix.path)] == prefix.path
    assert prefix_covers(str(prefix), resource) == below
    assert all(canonical_prefix(text) == text and prefix_covers(text, resource) for text in resource.prefixes)
