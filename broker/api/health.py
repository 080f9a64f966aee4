"""`/healthz` and `/readyz`: whether the process lives, and whether it can issue."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from broker.activation import Activation
from broker.active import Active
from broker.feed.follower import Follower
from broker.identity import OidcTokens, TrustDomains, Users
from broker.store.watch import Watch


@get("/healthz")
async def alive() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "alive"}


@get("/readyz")
async def ready(
    follower: NamedDependency[Follower],
    watch: NamedDependency[Watch],
    active: NamedDependency[Active],
    activation: NamedDependency[Activation],
    trust_domains: NamedDependency[TrustDomains],
    oidc: NamedDependency[OidcTokens],
    users: NamedDependency[Users],
) -> Response[dict[str, Any]]:
    """Say whether this worker would issue: picture young, epoch open, store fit, and its configuration the one in force.

    A replica whose files cannot be used or are not in force, or that cannot read the bundle of a trust domain or the keys of an
    issuer, is ready, and says so; unless nobody at all could prove to it who they are.
    """
    problem = _problem(follower, active) or watch.problem() or _unknown(active, trust_domains, oidc)
    if not problem:
        notice = _joined(activation.notice, trust_domains.notice, oidc.notice, users.notice)
        return Response({"status": "ready", **({"problem": notice} if notice else {})})
    return Response({"status": "not ready", "problem": problem}, status_code=503, headers={"Retry-After": "1"})


def _problem(follower: Follower, active: Active) -> str:
    if not follower.is_current():
        return "the store has not been heard from for a second"
    if not follower.is_open():
        return "the store was lost or restarted, and its workers compare what they know"
    if follower.activated is None or follower.activated.id != active.activation:
        return "this worker does not decide by the configuration in force yet"
    return ""


def _unknown(active: Active, trust_domains: TrustDomains, oidc: OidcTokens) -> str:
    has_keys = any(agent.keys for agent in active.rules.registry.content.agents.values())
    if has_keys or not trust_domains.are_unknown or not oidc.are_unknown:
        return ""
    return _joined(trust_domains.notice, oidc.notice)


def _joined(*notices: str) -> str:
    return "; ".join(notice for notice in notices if notice)
