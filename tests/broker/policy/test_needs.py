"""What a request needs, as people say it."""

from collections.abc import Hashable

import pytest

from broker.policy import needs
from broker.policy.dimensions import OTHER, OTHER_SEGMENT

DOMAINS: dict[str, frozenset[Hashable]] = {
    "proof": frozenset({"none", "dpop", "mtls"}),
    "hour": frozenset(range(24)),
    "weekday": frozenset(range(1, 8)),
    "ttl": frozenset({15, 30, 60, 120}),
    "depth": frozenset(range(4)),
    "recent_refusals": frozenset({0, 1, 3}),
    "user": frozenset({"", "corp:jane", OTHER}),
    "record": frozenset({"crm:ticket/1", f"crm:ticket/{OTHER_SEGMENT}"}),
}


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("proof", {"dpop", "mtls"}, "a proof"),
        ("proof", {"mtls"}, "a proof by certificate"),
        ("proof", {"none", "dpop"}, "a proof by DPoP or no proof"),
        ("approved", {True}, "a person's approval"),
        ("tainted", {False}, "an untainted tree"),
        ("label:financial,pii", {False}, "a tree that has not read financial or pii"),
        ("group:support", {True}, "a user in support"),
        (f"group:{OTHER}", {True}, "a user in another group"),
        (f"group:{OTHER}", {False}, "a user in no other group"),
        ("reduction:read-only", {False}, "no reduction to read-only"),
        ("hour", set(range(6, 18)), "every day, 06:00 to 18:00 UTC"),
        ("weekday", {6, 7}, "Saturday to Sunday"),
        ("ttl", {15, 30, 60}, "a life of at most 60 seconds"),
        ("ttl", {120}, "a life of more than 60 seconds"),
        ("ttl", {30, 120}, "a life of 30 or 120 seconds"),
        ("depth", {0}, "no task above it"),
        ("depth", {1, 2, 3}, "more than 0 tasks above it"),
        ("recent_refusals", {0, 1}, "at most 1 refusals lately"),
        ("user", {""}, "no user"),
        ("user", {"corp:jane"}, "only for corp:jane"),
        ("user", {OTHER, "corp:jane"}, "a user"),
        ("user", {OTHER, ""}, "any user or nobody other than corp:jane"),
        ("record", {"crm:ticket/1"}, "only crm:ticket/1"),
        ("record", {f"crm:ticket/{OTHER_SEGMENT}"}, "any record but crm:ticket/1"),
        ("identity", {("jwt-svid", "prod")}, "an identity by jwt-svid of prod"),
    ],
)
def test_each_need_is_said(name: str, values: set[Hashable], said: str) -> None:
    assert needs.said({name: frozenset(values)}, DOMAINS) == (said,)


def test_nothing_is_needed_for_everything() -> None:
    assert needs.said({}, DOMAINS) == ()
