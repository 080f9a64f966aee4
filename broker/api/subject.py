"""The parameters of RFC 8693 that say for whom or below what a token is asked for."""

from collections.abc import Mapping

from broker.delegation import Subject, SubjectType
from broker.errors import InvalidRequest

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant, not a secret
_URN = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN = f"{_URN}access_token"
_TYPES: dict[str, SubjectType] = {
    f"{_URN}jwt": "jwt",
    f"{_URN}id_token": "id_token",
    ACCESS_TOKEN: "access_token",
}


def subject_in(parameters: Mapping[str, str], *, is_exchange: bool) -> Subject | None:
    """Read the subject token of a token exchange; raise `InvalidRequest` for one elsewhere, and for what is not granted."""
    if not is_exchange:
        if {"subject_token", "subject_token_type"} & parameters.keys():
            raise InvalidRequest(f"subject_token goes with grant_type {TOKEN_EXCHANGE}")
        return None
    if {"actor_token", "actor_token_type"} & parameters.keys():
        raise InvalidRequest("leave out actor_token: whoever calls is the actor, and proves it as a client")
    if "audience" in parameters:
        raise InvalidRequest("leave out audience: the service is named by the scope, and by resource where that is wanted")
    if parameters.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise InvalidRequest(f"requested_token_type has to be {ACCESS_TOKEN}; nothing else is issued here")
    subject = shown(parameters.get("subject_token"), parameters.get("subject_token_type"))
    if subject is None:
        raise InvalidRequest("subject_token is missing: the token of a user, or of the agent that delegates")
    return subject


def shown(unverified_token: str | None, type: str | None) -> Subject | None:
    """Read a subject token and what it is said to be, `None` for neither; raise `InvalidRequest` where one is missing."""
    if unverified_token is None and type is None:
        return None
    if not unverified_token or type not in _TYPES:
        raise InvalidRequest(f"subject_token goes with subject_token_type, one of {', '.join(_TYPES)}")
    return Subject(unverified_token, _TYPES[type])
