"""The composition root: settings in, application out. The only file that knows every class."""

import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import fakeredis
from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException

from broker import policy as policies
from broker import settings as settings_file
from broker import ulid
from broker.api import agents, audit, feed, health, leases, metadata, problems, revocations, tasks, token
from broker.audit import Audit
from broker.callers import Callers
from broker.errors import BrokerError, ConfigurationError
from broker.exchange import Exchange
from broker.feed.epoch_file import EpochFile
from broker.feed.follower import Follower
from broker.feed.log import Log
from broker.feed.streams import Streams
from broker.identity import JwtSvids, TrustDomain
from broker.issuer import Issuer
from broker.keys import Keys
from broker.leases import Leases
from broker.operators import Operators
from broker.policy import Policy
from broker.registry import files as registry_files
from broker.registry.registry import Registry
from broker.revocation import Revocation
from broker.scheduler import Scheduler
from broker.settings import Settings
from broker.standing import Standing
from broker.store import Store, SyncStore
from broker.tasks import Tasks
from scopes.clock import Clock, SystemClock

_HANDLERS: list[Any] = [
    metadata.server_metadata,
    metadata.token_keys,
    token.token,
    tasks.declare,
    tasks.list_open,
    tasks.show,
    tasks.end,
    leases.list_leases,
    leases.show,
    revocations.revoke,
    agents.list_agents,
    agents.show,
    audit.list_events,
    feed.feed_keys,
    feed.snapshot,
    feed.stream,
    health.alive,
    health.ready,
]
_EMBEDDED_LOCK = "embedded.lock"


class Configuration(NamedTuple):
    """Everything that is read from files, validated together."""

    settings: Settings
    registry: Registry
    policies: policies.PolicyFolder
    keys: Keys
    trust_domains: tuple[TrustDomain, ...]


class Stores(NamedTuple):
    """The two connections of a worker: one for its event loop, one for its follower's thread."""

    shared: Store
    follower: SyncStore


def configure(settings: Settings) -> Configuration:
    """Read all the files that the settings name; raise `ConfigurationError` if anything is wrong with any."""
    registry = registry_files.load(settings.path(settings.registry))
    return Configuration(
        settings=settings,
        registry=registry,
        policies=policies.load(settings.path(settings.policies), registry),
        keys=Keys.load(settings.path(settings.keys)),
        trust_domains=tuple(TrustDomain(source.trust_domain, settings.path(source.bundle)) for source in settings.trust.spiffe),
    )


def connect(settings: Settings) -> Stores:
    """Prepare the store; without a `redis_url`, one inside this process. Raises `ConfigurationError` if it is taken."""
    if settings.redis_url is not None:
        return Stores(Store.connect(settings.redis_url), SyncStore.connect(settings.redis_url))
    _lock(settings.path(settings.keys) / _EMBEDDED_LOCK)
    server = fakeredis.FakeServer()
    life = ulid.new(SystemClock().now().wall)
    return Stores(
        Store(fakeredis.FakeAsyncRedis(server=server), run_id=life),
        SyncStore(fakeredis.FakeRedis(server=server), run_id=life),
    )


class Broker:
    """Every room of one worker, put together."""

    def __init__(self, configuration: Configuration, stores: Stores, *, clock: Clock) -> None:
        self.configuration, self.stores, self.clock = configuration, stores, clock
        self.registry, self.keys = configuration.registry, configuration.keys
        settings, store = configuration.settings, stores.shared
        self.streams = Streams(issuer=settings.issuer, key=self.keys.feed)
        memory = EpochFile(settings.path(settings.keys) / "epoch")
        self.follower = Follower(store=stores.follower, streams=self.streams, clock=clock, memory=memory)
        self.log = Log(store)
        self.audit = Audit(store, clock=clock)
        self.leases = Leases(store)
        self.tasks = Tasks(store, audit=self.audit, clock=clock)
        self.identity = JwtSvids(configuration.trust_domains, audience=settings.issuer, clock=clock)
        self.standing = Standing(clock=clock)
        self.policy = Policy(configuration.policies, self.registry, clock=clock)
        operator_keys = {name: operator.keys for name, operator in self.registry.content.operators.items()}
        self.operators = Operators(operator_keys, store=store, audience=settings.issuer, clock=clock)
        self.issuer = self._issuer()
        self.callers = self._callers()
        self.exchange = self._exchange()
        self.revocation = self._revocation()
        self.scheduler = self._scheduler()

    @asynccontextmanager
    async def running(self, _: Litestar) -> AsyncIterator[None]:
        """Follow the feed and keep house for as long as the application runs."""
        self.follower.start()
        self.scheduler.start()
        try:
            yield
        finally:
            self.scheduler.close()
            self.follower.close()
            await self.stores.shared.close()

    def application(self) -> Litestar:
        """Put HTTP before the rooms."""
        return Litestar(
            _HANDLERS,
            dependencies={name: _provided(value) for name, value in self._given().items()},
            exception_handlers={
                BrokerError: problems.on_broker_error,
                HTTPException: problems.on_http_exception,
                Exception: problems.on_any_error,
            },
            lifespan=[self.running],
            openapi_config=None,
            request_max_body_size=token.MAX_BODY,
            logging_config=None,
        )

    def _given(self) -> dict[str, Any]:
        names = "keys streams follower audit leases tasks registry standing callers exchange revocation"
        settings = self.configuration.settings
        rooms = {name: getattr(self, name) for name in names.split()}
        return {"issuer": settings.issuer, "anyone_follows": settings.anyone_follows, **rooms}

    def _issuer(self) -> Issuer:
        return Issuer(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            leases=self.leases,
            audit=self.audit,
            follower=self.follower,
            store=self.stores.shared,
            clock=self.clock,
        )

    def _callers(self) -> Callers:
        return Callers(
            identity=self.identity,
            operators=self.operators,
            registry=self.registry,
            standing=self.standing,
            policy=self.policy,
        )

    def _exchange(self) -> Exchange:
        return Exchange(
            identity=self.identity,
            registry=self.registry,
            standing=self.standing,
            tasks=self.tasks,
            policy=self.policy,
            issuer=self.issuer,
            follower=self.follower,
            audit=self.audit,
            max_ttl=self.configuration.settings.max_ttl,
        )

    def _revocation(self) -> Revocation:
        return Revocation(
            log=self.log,
            follower=self.follower,
            leases=self.leases,
            tasks=self.tasks,
            registry=self.registry,
            audit=self.audit,
            clock=self.clock,
        )

    def _scheduler(self) -> Scheduler:
        return Scheduler(
            leases=self.leases,
            tasks=self.tasks,
            revocation=self.revocation,
            issuer=self.issuer,
            follower=self.follower,
        )


def create() -> Litestar:
    """Make the application for one worker, from the settings that the environment names."""
    configuration = configure(settings_file.load())
    return Broker(configuration, connect(configuration.settings), clock=SystemClock()).application()


def _provided(value: Any) -> Provide:
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)


def _lock(path: Path) -> None:
    """Hold a lock for the life of this process: the embedded store exists once, or what it counts would be wrong."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            [f"{path}: another broker runs with the embedded store; set redis_url to run several"]
        ) from None
    _HELD.append(file)


_HELD: list[Any] = []
