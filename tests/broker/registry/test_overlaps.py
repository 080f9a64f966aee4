"""Whichever way overlaps are found, they are those that comparing each with each finds."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from broker.registry.overlaps import overlapping
from broker.registry.records import WorkloadSelector

segments = st.sampled_from(["a", "ab", "b"])
ids = st.lists(segments, min_size=1, max_size=3).map(lambda path: "spiffe://test/" + "/".join(path))
spiffe = st.tuples(ids, st.sampled_from(["", "/*"])).map(lambda parts: WorkloadSelector(spiffe="".join(parts)))
claims = st.dictionaries(st.sampled_from(["sub", "repo", "ref"]), st.sampled_from(["x", "y", "z"]), max_size=3)
oidc = st.builds(WorkloadSelector, oidc=st.sampled_from(["one", "two"]), claims=claims)


@given(st.lists(st.one_of(spiffe, oidc), max_size=12))
def test_overlaps_are_those_that_comparing_each_with_each_finds(selectors: list[WorkloadSelector]) -> None:
    places = combinations(range(len(selectors)), 2)
    assert overlapping(selectors) == [(one, other) for one, other in places if selectors[one].overlaps(selectors[other])]
