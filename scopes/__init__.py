"""Verify Agent Broker's tokens inside a protected service: offline, in process, with revocation."""

from scopes.constraints import Constraint
from scopes.errors import (
    AlreadyUsed,
    Denied,
    Expired,
    InvalidDocument,
    InvalidProof,
    InvalidScope,
    InvalidToken,
    ProofRequired,
    ReplayUnknown,
    Revoked,
    ScopesError,
    Stale,
    Unavailable,
    Unconfirmed,
    VerificationError,
)
from scopes.grant import Grant
from scopes.headers import challenge, presented
from scopes.replays import ReplayStore
from scopes.scope import Resource, Scope
from scopes.verifier import Verifier

__all__ = [
    "AlreadyUsed",
    "Constraint",
    "Denied",
    "Expired",
    "Grant",
    "InvalidDocument",
    "InvalidProof",
    "InvalidScope",
    "InvalidToken",
    "ProofRequired",
    "ReplayStore",
    "ReplayUnknown",
    "Resource",
    "Revoked",
    "Scope",
    "ScopesError",
    "Stale",
    "Unavailable",
    "Unconfirmed",
    "VerificationError",
    "Verifier",
    "challenge",
    "presented",
]
