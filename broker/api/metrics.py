"""`GET /metrics`: what is counted, for Prometheus."""

import math

from litestar import Response, get
from litestar.di import NamedDependency

from broker import metrics
from broker.activation import Activation
from broker.endings import Endings
from broker.feed import acts
from broker.feed.follower import Follower
from broker.identity import TrustDomains
from broker.store.watch import Watch
from broker.stuck_work import StuckWork


@get("/metrics")
async def show_metrics(
    follower: NamedDependency[Follower],
    watch: NamedDependency[Watch],
    endings: NamedDependency[Endings],
    stuck_work: NamedDependency[StuckWork],
    activation: NamedDependency[Activation],
    trust_domains: NamedDependency[TrustDomains],
) -> Response[bytes]:
    """Tell the counts of every worker of this replica, and how it is now."""
    metrics.STUCK.set(len(endings.stuck()) + len(stuck_work.pieces()))
    metrics.REDUCTIONS.set(sum(acts.reduction(act) is not None for act in follower.acts.values()))
    for domain in trust_domains:
        age = domain.state.age
        metrics.BUNDLE_AGE.labels(domain.name).set(math.inf if age is None else age)
    metrics.READY.set(follower.is_current() and follower.is_open() and not watch.problem())
    metrics.PICTURE_AGE.set(follower.age() / 1000)
    metrics.BROKEN.set(bool(activation.file_problems))
    metrics.DIFFERS.set(activation.files_differ)
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
