"""How a token can be limited beyond what every verifier checks of every token: a closed set of names.

What a service does not enforce is a limit that silently does not limit. So a service says which of them it enforces, and the
issuer gives no token that needs another one.
"""

from typing import Literal, get_args

from scopes.claims import Confirmation
from scopes.scope import Scope

Constraint = Literal["fields", "proof", "certificate", "single_use", "max_uses"]
"""`fields`: the record is cut to the granted ones. `proof`, `certificate`: the holder proves to have the key, or the
certificate, that the token is bound to. `single_use`, `max_uses`: each use is counted at the issuer before it is made."""

CONSTRAINTS: tuple[Constraint, ...] = get_args(Constraint)

COUNTED: frozenset[Constraint] = frozenset({"single_use", "max_uses"})
"""Those that need the issuer at each use."""


def constraints_of(
    scope: Scope, confirmation: Confirmation | None, *, single_use: bool, max_uses: int | None
) -> tuple[Constraint, ...]:
    """Return the constraints of a token of this scope, bound to this, with these limits."""
    holds: dict[Constraint, bool] = {
        "fields": scope.fields is not None,
        "proof": confirmation is not None and confirmation.jkt is not None,
        "certificate": confirmation is not None and confirmation.x5t_s256 is not None,
        "single_use": single_use,
        "max_uses": max_uses is not None,
    }
    return tuple(constraint for constraint in CONSTRAINTS if holds[constraint])
