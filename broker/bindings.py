"""Which selectors are safe on which platform: what they demand has to name one workload, today and after names were reused.

The registry does not know the configured issuers, and these do not know the registry, so what has to hold between the two is
said here (`TRAPS.md` 10).
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from broker.identity import PlatformName
from broker.registry.records import Content, WorkloadSelector
from broker.toml_file import nearest


class Vouching(NamedTuple):
    """A configured issuer: its platform, and which claims say who a workload is, where the platform does not settle that."""

    platform: PlatformName
    identified_by: tuple[str, ...] = ()


def problems_of(content: Content, issuers: Mapping[str, Vouching], users: Collection[str] = ()) -> Iterator[str]:
    """Yield all that names an unknown issuer, of workloads or of users, or could come to mean somebody else.

    Each says what to write instead.
    """
    for name, agent in content.agents.items():
        for binding in agent.users:
            if binding.issuer not in users:
                yield f"agents.{name}.users: no [[trust.users]] has the name {binding.issuer!r}{nearest(binding.issuer, users)}"
    for where, selector in _selectors(content):
        if selector.oidc is None:
            continue
        issuer = issuers.get(selector.oidc)
        said = (
            f"no [[trust.oidc]] has the name {selector.oidc!r}{nearest(selector.oidc, issuers)}"
            if issuer is None
            else _unsafe(selector, issuer)
        )
        if said:
            yield f"{where}.workloads: {selector.text!r}: {said}"


def _selectors(content: Content) -> Iterator[tuple[str, WorkloadSelector]]:
    for name, agent in content.agents.items():
        yield from ((f"agents.{name}", selector) for selector in agent.workloads)
    for name, service in content.services.items():
        yield from ((f"services.{name}", selector) for selector in service.workloads)


def _unsafe(selector: WorkloadSelector, issuer: Vouching) -> str:
    claims = frozenset(selector.claims)
    if selector.names_may_be_reused and issuer.platform != "kubernetes":
        return "names_may_be_reused is for Kubernetes only; name the ids"
    if issuer.platform == "kubernetes":
        return _unsafe_kubernetes(claims, names_may_be_reused=selector.names_may_be_reused)
    if issuer.platform == "github":
        holds_ids = _GITHUB_SUBJECT_WITH_IDS.fullmatch(selector.claims.get("sub", "")) is not None
        return "" if holds_ids else _unsafe_shared(claims, _GITHUB_IDS, _GITHUB_WHICH)
    if issuer.platform == "gitlab":
        return _unsafe_shared(claims, _GITLAB_IDS, _GITLAB_WHICH)
    missing = [path for path in issuer.identified_by if path not in claims]
    return f"it lacks {' and '.join(missing)}, by which this issuer's workloads are told apart" if missing else ""


# The owner too: a repository keeps its id when somebody else becomes its owner.
_GITHUB_IDS = ("repository_id", "repository_owner_id")
# The subject of newer repositories holds both: repo:<owner>@<id>/<name>@<id>:<which>. No name has an @ in it.
_GITHUB_SUBJECT_WITH_IDS = re.compile(r"repo:[^@/:]+@[0-9]+/[^@/:]+@[0-9]+:.+")
_GITHUB_WHICH = ("sub", "ref", "environment", "workflow_ref", "job_workflow_ref")
_GITLAB_IDS = ("project_id", "namespace_id")
_GITLAB_WHICH = ("sub", "ref", "environment", "ref_protected", "environment_protected", "ci_config_ref_uri")


def _unsafe_shared(claims: frozenset[str], ids: tuple[str, ...], which: tuple[str, ...]) -> str:
    missing = [path for path in ids if path not in claims]
    if missing:
        return f"names can be freed and taken by somebody else; demand {' and '.join(missing)} as well"
    if not claims.intersection(which):
        return f"whoever can push any branch could be this; demand one of {', '.join(which)} as well"
    return ""


_ACCOUNT_UID = "kubernetes.io/serviceaccount/uid"
_NAMES = frozenset({"kubernetes.io/namespace", "kubernetes.io/serviceaccount/name"})


def _unsafe_kubernetes(claims: frozenset[str], *, names_may_be_reused: bool) -> str:
    if _ACCOUNT_UID in claims:
        return ""
    if not names_may_be_reused:
        return (
            f"a service account can be deleted and made again by somebody else; demand {_ACCOUNT_UID}, "
            "or say names_may_be_reused = true"
        )
    # `sub` holds both names.
    return "" if "sub" in claims or claims >= _NAMES else "demand sub, so that it names one service account of one namespace"
