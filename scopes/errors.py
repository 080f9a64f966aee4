"""Why something was not accepted: one tree, each class a decision the caller can take, each code stable."""


class ScopesError(Exception):
    """Whatever this package refuses. `code` is stable; the message is for people."""

    code = "scopes_error"


class InvalidScope(ScopesError, ValueError):
    """The text is not a scope, a resource or a pattern of one."""

    code = "invalid_scope"


class InvalidDocument(ScopesError, ValueError):
    """A JSON document, a key or a signed message is not what it has to be, exactly."""

    code = "invalid_document"


class VerificationError(ScopesError):
    """The token must not be honoured. `status` is the HTTP status a protected service answers with (RFC 6750 §3.1)."""

    code = "invalid_token"
    status = 401


class InvalidToken(VerificationError):
    """Not a token of this issuer for this service: malformed, forged, too early, or meant for another service."""


class Expired(VerificationError):
    """The token was good and its time is over; ask for a new one."""

    code = "token_expired"


class Revoked(VerificationError):
    """Something ended the token before its time."""

    code = "token_revoked"


class AlreadyUsed(VerificationError):
    """The token has been used as often as it may be; ask for a new one."""

    code = "already_used"


class ProofRequired(VerificationError):
    """The token is bound to a key or a certificate, and this request does not prove that the caller holds it."""

    code = "proof_required"


class InvalidProof(VerificationError):
    """The proof does not show that whoever sends this request holds the token's key (RFC 9449 §4.3, §7.1)."""

    code = "invalid_dpop_proof"


class Denied(VerificationError):
    """The token is good, and does not grant this."""

    code = "insufficient_scope"
    status = 403


class Stale(VerificationError):
    """The verifier knows too little about revocations, or learned it too long ago, to honour the token."""

    code = "revocation_state_stale"
    status = 503


class Unavailable(VerificationError):
    """The issuer's keys are unknown or too old, so that nothing can be verified."""

    code = "keys_unavailable"
    status = 503


class ReplayUnknown(VerificationError):
    """Whether the proof was used before cannot be told, so it counts as used."""

    code = "proof_replay_unknown"
    status = 503


class Unconfirmed(VerificationError):
    """The issuer has not confirmed that it counted the use, so the token is not honoured. It may have counted it."""

    code = "use_unconfirmed"
    status = 503
