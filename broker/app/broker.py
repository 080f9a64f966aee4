"""The composition root: configuration in, application out. The only file that knows every class."""

import contextlib
import gc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from broker import settings as settings_file
from broker.activation import Activation
from broker.api import (
    agents,
    audit,
    configuration,
    consumption,
    feed,
    health,
    introspection,
    keys,
    leases,
    metadata,
    metrics,
    problems,
    reductions,
    revocations,
    stuck,
    tasks,
    token,
)
from broker.api.metadata import MutualTls
from broker.app.configuration import Configuration, configure
from broker.app.rooms import Rooms
from broker.app.stopping import when_told_to_stop
from broker.app.stores import Stores, connect
from broker.callers import Callers
from broker.consumption import Consumption
from broker.delegation import Delegations
from broker.endings import Endings
from broker.enforceable import Enforceable
from broker.enforcement import Enforcement
from broker.errors import BrokerError
from broker.exchange import Exchange
from broker.inquiry import Inquiry
from broker.issuer import Issuer
from broker.lifecycle import Lifecycle
from broker.outbox import Outbox
from broker.permits import Permits
from broker.redecision import Redecision
from broker.reduction import Reduction
from broker.returning import Returning
from broker.revocation import Revocation
from broker.rotation import Rotation
from broker.scheduler import Scheduler
from broker.settling import Settling
from scopes.clock import Clock, SystemClock

_HANDLERS: list[Any] = [
    metadata.server_metadata,
    metadata.token_keys,
    token.token,
    introspection.introspect,
    introspection.revoke,
    tasks.declare,
    tasks.list_open,
    tasks.show,
    tasks.end,
    leases.list_leases,
    leases.show,
    consumption.consume,
    revocations.revoke,
    revocations.show,
    reductions.reduce,
    reductions.list_reductions,
    keys.list_keys,
    keys.rotate,
    stuck.list_stuck,
    agents.list_agents,
    agents.show,
    agents.change,
    audit.list_events,
    configuration.activate,
    configuration.show,
    feed.feed_keys,
    feed.snapshot,
    feed.stream,
    feed.acknowledge,
    feed.list_verifiers,
    health.alive,
    health.ready,
    metrics.show_metrics,
]


class Broker(Rooms):
    """Every room and every use case of one worker, put together."""

    def __init__(self, configuration: Configuration, stores: Stores, *, clock: Clock) -> None:
        super().__init__(configuration, stores, clock=clock)
        self.issuer = self._issuer()
        self.callers = self._callers()
        self.enforceable = Enforceable(acknowledgements=self.acknowledgements, clock=clock)
        self.delegations = self._delegations()
        self.exchange = self._exchange()
        self.endings = self._endings()
        self.revocation = self._revocation()
        self.reduction = self._reduction()
        self.lifecycle = self._lifecycle()
        self.rotation = self._rotation()
        self.inquiry = self._inquiry()
        self.returning = self._returning()
        self.consumption = self._consumption()
        self.enforcement = Enforcement(acknowledgements=self.acknowledgements, active=self.active, clock=clock)
        self.settling = self._settling()
        self.activation = self._activation()
        self.redecision = self._redecision()
        self.scheduler = self._scheduler()
        self.on_swap = self.scheduler.decide_again_now

    @asynccontextmanager
    async def running(self, application: Litestar) -> AsyncIterator[None]:
        """Follow the feed and keep house for as long as the application runs."""
        self.trust_domains.start()
        self.adoption.start()
        self.follower.start()
        self.watch.start()
        self.oidc.start()
        self.users.start()
        self.scheduler.start()
        try:
            with when_told_to_stop(self.streams.close):
                async with self._mutual_tls(application):
                    yield
        finally:
            self.scheduler.close()
            self.follower.close()
            self.adoption.close()
            self.watch.close()
            self.keys.close()
            self.trust_domains.close()
            self.oidc.close()
            self.users.close()
            await self.stores.shared.close()

    def application(self) -> Litestar:
        """Put HTTP before the rooms."""
        return Litestar(
            _HANDLERS,
            dependencies={name: _Given(value) for name, value in self._given().items()},
            exception_handlers={
                BrokerError: problems.on_broker_error,
                HTTPException: problems.on_http_exception,
                Exception: problems.on_any_error,
            },
            lifespan=[self.running],
            openapi_config=None,
            request_max_body_size=token.MAX_BODY,
            logging_config=None,
            state=State({"proxies": self.configuration.settings.proxies}),
        )

    def _mutual_tls(self, application: Litestar) -> AbstractAsyncContextManager[None]:
        listener = self.configuration.listener
        return listener.serving(application) if listener is not None else contextlib.nullcontext()

    def _given(self) -> dict[str, Any]:
        names = "keys streams follower watch audit leases tasks active standing callers exchange endings revocation"
        names += " reduction lifecycle inquiry consumption returning acknowledgements enforcement stuck_work"
        names += " adoption activation rotation trust_domains oidc users delegations"
        settings = self.configuration.settings
        rooms = {name: getattr(self, name) for name in names.split()}
        mutual_tls = MutualTls(bool(settings.mtls_listen or settings.proxies), settings.mtls_url)
        return {"issuer": settings.issuer, "anyone_follows": settings.anyone_follows, "mutual_tls": mutual_tls, **rooms}

    def _rotation(self) -> Rotation:
        return Rotation(
            keys=self.keys,
            revocation=self.revocation,
            follower=self.follower,
            audit=self.audit,
            lifetime=self.configuration.settings.key_lifetime * 1000,
        )

    def _activation(self) -> Activation:
        return Activation(
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            audit=self.audit,
            adoption=self.adoption,
            own=self.configuration.own,
            clock=self.clock,
        )

    def _redecision(self) -> Redecision:
        return Redecision(
            store=self.stores.shared,
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            active=self.active,
            audit=self.audit,
            clock=self.clock,
        )

    def _issuer(self) -> Issuer:
        return Issuer(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            leases=self.leases,
            audit=self.audit,
            follower=self.follower,
            store=self.stores.shared,
            clock=self.clock,
            stuck=self.stuck_work,
        )

    def _callers(self) -> Callers:
        return Callers(
            identities=self.identities,
            operators=self.operators,
            active=self.active,
            standing=self.standing,
            follower=self.follower,
        )

    def _delegations(self) -> Delegations:
        return Delegations(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            users=self.users,
            leases=self.leases,
            tasks=self.tasks,
        )

    def _exchange(self) -> Exchange:
        return Exchange(
            identities=self.identities,
            possession=self.possession,
            active=self.active,
            standing=self.standing,
            delegations=self.delegations,
            permits=self._permits(),
            issuer=self.issuer,
            follower=self.follower,
            refusals=self.refusals,
            watch=self.watch,
        )

    def _permits(self) -> Permits:
        return Permits(
            exposures=self.exposures,
            refusals=self.refusals,
            enforceable=self.enforceable,
            max_ttl=self.configuration.settings.max_ttl,
        )

    def _endings(self) -> Endings:
        folder = self.configuration.settings.path(self.configuration.settings.keys)
        return Endings(
            log=self.log,
            follower=self.follower,
            journal=self.journal,
            audit=self.audit,
            outbox=Outbox(folder / "outbox"),
            clock=self.clock,
        )

    def _revocation(self) -> Revocation:
        return Revocation(
            endings=self.endings,
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            tasks=self.tasks,
            active=self.active,
            audit=self.audit,
            clock=self.clock,
            stuck=self.stuck_work,
        )

    def _settling(self) -> Settling:
        return Settling(
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            tasks=self.tasks,
            active=self.active,
            stuck=self.stuck_work,
            clock=self.clock,
        )

    def _reduction(self) -> Reduction:
        return Reduction(endings=self.endings, follower=self.follower, active=self.active, clock=self.clock)

    def _inquiry(self) -> Inquiry:
        return Inquiry(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            callers=self.callers,
            follower=self.follower,
            leases=self.leases,
        )

    def _consumption(self) -> Consumption:
        return Consumption(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            callers=self.callers,
            follower=self.follower,
            leases=self.leases,
            log=self.log,
            store=self.stores.shared,
            audit=self.audit,
            watch=self.watch,
        )

    def _returning(self) -> Returning:
        return Returning(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            callers=self.callers,
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            audit=self.audit,
            clock=self.clock,
        )

    def _lifecycle(self) -> Lifecycle:
        return Lifecycle(endings=self.endings, follower=self.follower, active=self.active, clock=self.clock)

    def _scheduler(self) -> Scheduler:
        return Scheduler(
            leases=self.leases,
            tasks=self.tasks,
            revocation=self.revocation,
            endings=self.endings,
            settling=self.settling,
            issuer=self.issuer,
            activation=self.activation,
            rotation=self.rotation,
            redecision=self.redecision,
        )


def create() -> Litestar:
    """Make the application for one worker, from the settings that the environment names."""
    configuration = configure(settings_file.load(), may_differ=True)
    application = Broker(configuration, connect(configuration.settings), clock=SystemClock()).application()
    # What was made by now stays for good, so garbage is not looked for in it again and again.
    gc.freeze()
    return application


class _Given(Provide):
    """A value that handlers are given, and no other: what the library compares for each of them takes a quarter of a start."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __init__(self, value: Any) -> None:
        super().__init__(lambda: value, use_cache=True, sync_to_thread=False)

    def __eq__(self, other: object) -> bool:
        return self is other
