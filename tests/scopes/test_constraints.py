"""Which constraints a token has: a closed set of names, each by what stands in the token."""

import pytest

from scopes.claims import Confirmation
from scopes.constraints import CONSTRAINTS, COUNTED, constraints_of
from scopes.scope import Scope

WHOLE, FIELDS = Scope.parse("kb:article/1#read"), Scope.parse("crm:ticket/1#read[subject]")
KEY, CERTIFICATE = Confirmation(jkt="0ZcO"), Confirmation(x5t_s256="bwcK")


@pytest.mark.parametrize(
    ("scope", "confirmation", "limits", "constraints"),
    [
        (WHOLE, None, {}, ()),
        (FIELDS, None, {}, ("fields",)),
        (WHOLE, KEY, {}, ("proof",)),
        (WHOLE, CERTIFICATE, {}, ("certificate",)),
        (WHOLE, None, {"single_use": True}, ("single_use",)),
        (WHOLE, None, {"max_uses": 1}, ("max_uses",)),
        (FIELDS, KEY, {"single_use": True, "max_uses": 3}, ("fields", "proof", "single_use", "max_uses")),
    ],
)
def test_the_constraints_of_a_token_are_what_limits_it(scope, confirmation, limits, constraints) -> None:
    assert constraints_of(scope, confirmation, **{"single_use": False, "max_uses": None, **limits}) == constraints


def test_the_names_are_those_of_the_contract() -> None:
    """They stand in registries and in what processes acknowledge."""
    assert CONSTRAINTS == ("fields", "proof", "certificate", "single_use", "max_uses")
    assert set(CONSTRAINTS) >= COUNTED
