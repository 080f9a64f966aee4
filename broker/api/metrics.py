"""`GET /metrics`: what is counted, for Prometheus."""

from litestar import Response, get
from litestar.di import NamedDependency

from broker import metrics
from broker.activation import Activation
from broker.endings import Endings
from broker.feed import acts
from broker.feed.follower import Follower
from broker.store.watch import Watch
from broker.stuck_work import StuckWork


@get("/metrics")
async def show_metrics(
    follower: NamedDependency[Follower],
    watch: NamedDependency[Watch],
    endings: NamedDependency[Endings],
    stuck_work: NamedDependency[StuckWork],
    activation: NamedDependency[Activation],
) -> Response[bytes]:
    """Tell the counts of every worker of this replica, and how it is now."""
    metrics.STUCK.set(len(endings.stuck()) + len(stuck_work.pieces()))
    metrics.REDUCTIONS.set(sum(acts.reduction(act) is not None for act in follower.acts.values()))
    metrics.READY.set(follower.is_current() and follower.is_open() and not watch.problem())
    metrics.PICTURE_AGE.set(follower.age() / 1000)
    metrics.BROKEN.set(bool(activation.file_problems))
    metrics.DIFFERS.set(activation.files_differ)
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
