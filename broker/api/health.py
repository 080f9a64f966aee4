"""`/healthz` and `/readyz`: whether the process lives, and whether it can issue."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from broker.activation import Activation
from broker.active import Active
from broker.feed.follower import Follower
from broker.identity import TrustDomains
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
) -> Response[dict[str, Any]]:
    """Say whether this worker would issue: picture young, epoch open, store fit, and its configuration the one in force.

    A replica whose files cannot be used or are not in force, or that cannot read the bundle of a trust domain, is ready, and
    says so; unless nobody at all could prove to it who they are.
    """
    problem = _problem(follower, active) or watch.problem() or _unknown(active, trust_domains)
    if not problem:
        notice = "; ".join(said for said in (activation.notice, trust_domains.notice) if said)
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


def _unknown(active: Active, trust_domains: TrustDomains) -> str:
    has_keys = any(agent.keys for agent in active.rules.registry.content.agents.values())
    return "" if has_keys or not trust_domains.are_unknown else trust_domains.notice
