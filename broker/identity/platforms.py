"""What the tokens of each platform look like, and how those of workloads are told from those of people (`TRAPS.md` 10, 12)."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from scopes.errors import InvalidDocument

PlatformName = Literal["kubernetes", "github", "gitlab", "generic"]

Claims = Mapping[str, str]
"""Claims by path: what is inside an object has the names from the outside in, with `/` between them."""

MAX_DEPTH = 8
"""How deep claims may be nested; Kubernetes needs three."""

_GOOGLE_SERVICE_ACCOUNT = ".gserviceaccount.com"

# What OpenID Connect Core (§2, §5.1) has for people who signed in. A workload never signs in, so it has none of them.
_SIGNED_IN = frozenset({"nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid"})
_NAMED = frozenset({"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username"})
_DESCRIBED = frozenset(
    {"profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "phone_number", "address"}
)
_OF_PEOPLE = _SIGNED_IN | _NAMED | _DESCRIBED


class Platform(NamedTuple):
    """What every token of a workload has. `instance` is the claim that tells one of many, and what to call it."""

    required: tuple[str, ...]
    is_subject: Callable[[str, Claims], bool]
    instance: tuple[str, str] | None = None


def _is_service_account(subject: str, claims: Claims) -> bool:
    return subject == ":".join(("system:serviceaccount", claims[_NAMESPACE], claims[_ACCOUNT]))


_NAMESPACE, _ACCOUNT = "kubernetes.io/namespace", "kubernetes.io/serviceaccount/name"
PLATFORMS: dict[PlatformName, Platform] = {
    "kubernetes": Platform(
        (_NAMESPACE, _ACCOUNT, "kubernetes.io/serviceaccount/uid"), _is_service_account, ("kubernetes.io/pod/uid", "pod")
    ),
    "github": Platform(("repository_id", "repository_owner_id", "run_id"), lambda subject, _: bool(subject), ("run_id", "run")),
    # The same issuer signs in people, whose subject is a number.
    "gitlab": Platform(
        ("project_id", "namespace_id", "pipeline_id", "job_id"),
        lambda subject, _: subject.startswith("project_path:"),
        ("job_id", "job"),
    ),
    "generic": Platform((), lambda subject, _: bool(subject)),
}


def flattened(document: Mapping[str, Any]) -> dict[str, str]:
    """Write claims by path, texts and whole numbers only; raise `InvalidDocument` where two have one path, or too deep."""
    seen: set[str] = set()
    found: dict[str, str] = {}
    rest: list[tuple[str, Any, int]] = [(name, value, 1) for name, value in document.items()]
    while rest:
        path, value, depth = rest.pop()
        if path in seen or depth > MAX_DEPTH:
            raise InvalidDocument("two of its claims have one path, or they are nested too deep")
        seen.add(path)
        if isinstance(value, dict):
            rest += [(f"{path}/{name}", inside, depth + 1) for name, inside in value.items()]
        # A boolean is an integer in Python, and none here (`TRAPS.md` 4).
        elif isinstance(value, str | int) and not isinstance(value, bool):
            found[path] = str(value)
    return found


def check_workload(platform: Platform, document: Mapping[str, Any], claims: Claims) -> None:
    """Raise `InvalidDocument` unless these are the claims of a workload, and not of a person."""
    email = claims.get("email", "")
    if _OF_PEOPLE & document.keys() or ("email" in document and not email.endswith(_GOOGLE_SERVICE_ACCOUNT)):
        raise InvalidDocument("it is the token of a person; agents have identities of their own")
    missing = [path for path in platform.required if not claims.get(path)]
    if missing:
        raise InvalidDocument(f"it is not the token of a workload: it has no {', '.join(missing)}")
    if not platform.is_subject(claims.get("sub", ""), claims):
        raise InvalidDocument("it is not the token of a workload: its subject is none")


def is_of_workload(document: Mapping[str, Any]) -> bool:
    """Tell whether it has all that the tokens of some known platform's workloads have, and nobody else's."""
    claims = flattened(document)
    return any(all(claims.get(path) for path in platform.required) for platform in PLATFORMS.values() if platform.required)
