"""Verify Agent Broker's tokens inside a protected service: offline, in process, with revocation."""

from scopes.errors import (
    Denied,
    Expired,
    InvalidDocument,
    InvalidScope,
    InvalidToken,
    ProofRequired,
    Revoked,
    ScopesError,
    Stale,
    Unavailable,
    VerificationError,
)
from scopes.scope import Resource, Scope
from scopes.verifier import Grant, Verifier

__all__ = [
    "Denied",
    "Expired",
    "Grant",
    "InvalidDocument",
    "InvalidScope",
    "InvalidToken",
    "ProofRequired",
    "Resource",
    "Revoked",
    "Scope",
    "ScopesError",
    "Stale",
    "Unavailable",
    "VerificationError",
    "Verifier",
]
