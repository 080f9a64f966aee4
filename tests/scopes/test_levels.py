from itertools import pairwise

from scopes.levels import LEVELS, is_above


def test_the_levels_rise_from_read_to_trigger():
    assert LEVELS == ("read", "draft", "write", "trigger")
    assert all(is_above(higher, lower) and not is_above(lower, higher) for lower, higher in pairwise(LEVELS))


def test_no_level_is_above_itself():
    assert not any(is_above(level, level) for level in LEVELS)


def test_every_level_is_above_a_bound_that_is_not_known():
    """Unknown means no: a reduction to a level this version has never heard of ends everything."""
    assert all(is_above(level, "observe") for level in LEVELS)
