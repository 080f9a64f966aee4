"""The composition root: settings in, application out. The only file that knows every class."""

import asyncio
import contextlib
import fcntl
import functools
import itertools
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

import fakeredis
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException

from broker import bindings, ulid
from broker import settings as settings_file
from broker.activation import Activation
from broker.active import Active
from broker.active.adoption import Adoption
from broker.active.own_files import Folders, OwnFiles
from broker.active.sources import Objections
from broker.api import (
    agents,
    audit,
    configuration,
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
from broker.api.mutual_tls import Certificate, Listener
from broker.audit import Audit
from broker.bindings import Vouching
from broker.callers import Callers
from broker.endings import Endings
from broker.enforcement import Enforcement
from broker.errors import BrokerError, ConfigurationError
from broker.exchange import Exchange
from broker.feed.acknowledgements import Acknowledgements
from broker.feed.activated import Mirror
from broker.feed.epoch_file import EpochFile
from broker.feed.follower import Follower
from broker.feed.journal import Journal
from broker.feed.log import Log
from broker.feed.streams import Streams
from broker.identity import (
    Identities,
    Intermediates,
    JwtSvids,
    OidcTokens,
    TrustDomain,
    TrustDomains,
    TrustedIssuer,
    X509Svids,
)
from broker.identity.bundle_sources import bundle_source
from broker.identity.private_key import PrivateKeys
from broker.inquiry import Inquiry
from broker.issuer import Issuer
from broker.keys import Custody, FolderCustody, KeyFolder
from broker.keys.keys import Keys
from broker.leases import Leases
from broker.lifecycle import Lifecycle
from broker.operators import Operators
from broker.outbox import Outbox
from broker.policy import PolicyFolder
from broker.possession import Nonces, Possession
from broker.reduction import Reduction
from broker.registry.registry import Registry
from broker.returning import Returning
from broker.revocation import Revocation
from broker.rotation import Rotation
from broker.scheduler import Scheduler
from broker.settings import Settings, SpiffeTrust
from broker.settling import Settling
from broker.standing import Standing
from broker.store import Store, SyncStore
from broker.store.watch import Watch
from broker.stuck_work import StuckWork
from broker.tasks import Tasks
from broker.trusted_issuers import OidcTrust
from scopes.clock import Clock, SystemClock
from scopes.keys import KeySet

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
_EMBEDDED_LOCK = "embedded.lock"

T = TypeVar("T")


class Configuration(NamedTuple):
    """Everything that is read from files, validated together."""

    settings: Settings
    own: OwnFiles
    keys: KeyFolder
    trust_domains: TrustDomains
    intermediates: Mapping[str, Intermediates]
    listener: Listener | None = None
    issuers: tuple[TrustedIssuer, ...] = ()

    @property
    def registry(self) -> Registry:
        """The registry as the files have it."""
        assert self.own.content is not None
        return self.own.content.registry

    @property
    def policies(self) -> PolicyFolder:
        """The policies as the files have them."""
        assert self.own.content is not None
        return self.own.content.policies


class Stores(NamedTuple):
    """The two connections of a worker: one for its event loop, one for its follower's thread."""

    shared: Store
    follower: SyncStore


def configure(settings: Settings, *, may_differ: bool = False) -> Configuration:
    """Read all the files that the settings name; raise `ConfigurationError` with everything that is wrong with any.

    Where others may be in force, files of registry and policies that cannot be used are no reason not to go on.
    """
    own = OwnFiles(Folders(settings.path(settings.registry), settings.path(settings.policies)), objections(settings))
    problems = [] if may_differ else list(own.problems)
    keys = _read(problems, KeyFolder.load, settings.path(settings.keys), settings_file.key_passphrase(settings))
    domains = tuple(_read(problems, _trust_domain, settings, source) for source in settings.trust.spiffe)
    named = {source.trust_domain: source.intermediates for source in settings.trust.spiffe if source.intermediates is not None}
    between = {name: _read(problems, Intermediates, settings.path(file)) for name, file in named.items()}
    known = TrustDomains(domain for domain in domains if domain is not None)
    issuers = tuple(_read(problems, _trusted_issuer, settings, trust) for trust in settings.trust.oidc)
    listener = _read(problems, _listener, settings, known) if settings.mtls_address is not None else None
    if problems or keys is None:
        raise ConfigurationError(problems)
    intermediates = {name: found for name, found in between.items() if found is not None}
    trusted = tuple(issuer for issuer in issuers if issuer is not None)
    return Configuration(settings, own, keys, known, intermediates, listener, trusted)


def objections(settings: Settings) -> Objections:
    """Return what finds all that these settings have against a registry: unknown trusts it names, and unsafe bindings."""
    issuers = {trust.name: Vouching(trust.platform, trust.identified_by) for trust in settings.trust.oidc}
    return lambda registry: [*bindings.problems_of(registry.content, issuers)]


def _trusted_issuer(settings: Settings, trust: OidcTrust) -> TrustedIssuer:
    return trust.trusted(issuer=settings.issuer, at=settings.path, clock=SystemClock())


def _listener(settings: Settings, domains: TrustDomains) -> Listener:
    """Prepare to listen with mutual TLS, for the workloads of all these domains."""
    address, chain, key = settings.mtls_address, settings.tls_certificate, settings.tls_key
    # The settings were refused if one of them were missing.
    assert address is not None
    assert chain is not None
    assert key is not None
    certificate = Certificate(settings.path(chain), settings.path(key))
    return Listener(address, certificate, lambda: tuple(itertools.chain(*(one.bundle.x509_authorities for one in domains))))


def _trust_domain(settings: Settings, trust: SpiffeTrust) -> TrustDomain:
    source = bundle_source(
        trust.trust_domain,
        file=settings.path(trust.bundle) if trust.bundle is not None else None,
        endpoint=trust.bundle_endpoint,
        endpoint_spiffe_id=trust.endpoint_spiffe_id,
        workload_api=trust.workload_api,
        allow_private_addresses=trust.allow_private_addresses,
        clock=SystemClock(),
    )
    return TrustDomain(trust.trust_domain, source)


def connect(settings: Settings) -> Stores:
    """Prepare the store; without a `redis_url`, one inside this process. Raises `ConfigurationError` if it is taken."""
    if settings.redis_url is not None:
        url, replicas = settings.redis_url, settings.replicas_required
        return Stores(Store.connect(url, replicas_required=replicas), SyncStore.connect(url, replicas_required=replicas))
    _HELD.append(_locked(settings.path(settings.keys) / _EMBEDDED_LOCK))
    server = fakeredis.FakeServer()
    life = ulid.new(SystemClock().now().wall)
    return Stores(
        Store.embedded(fakeredis.FakeAsyncRedis(server=server), run_id=life),
        SyncStore.embedded(fakeredis.FakeRedis(server=server), run_id=life),
    )


def check_free(settings: Settings) -> None:
    """Raise `ConfigurationError` if a broker with the embedded store runs on the same keys."""
    _locked(settings.path(settings.keys) / _EMBEDDED_LOCK).close()


class Broker:
    """Every room of one worker, put together."""

    def __init__(self, configuration: Configuration, stores: Stores, *, clock: Clock) -> None:
        self.configuration, self.stores, self.clock = configuration, stores, clock
        self.trust_domains = configuration.trust_domains
        self.active = Active()
        settings, store = configuration.settings, stores.shared
        self.keys = self._keys()
        self.streams = Streams(issuer=settings.issuer, key=lambda: self.keys.feed)
        folder = settings.path(settings.keys)
        self.journal = Journal(folder / "journal")
        self.log = Log(store)
        self.adoption = self._adoption(Mirror(folder / "configuration"))
        self.follower = Follower(
            store=stores.follower,
            streams=self.streams,
            clock=clock,
            memory=EpochFile(folder / "epoch"),
            journal=self.journal,
            configurations=self.adoption,
            on_beat=self.keys.catch_up,
            committed=lambda: self.log.latest,
        )
        self.acknowledgements = Acknowledgements(store)
        self.audit = Audit(store, clock=clock)
        self.leases = Leases(store)
        self.watch = Watch(settings.redis_url, clock=clock, replicas_required=settings.replicas_required)
        self.tasks = Tasks(store, audit=self.audit, clock=clock, watch=self.watch)
        self.oidc = OidcTokens(configuration.issuers, clock=clock)
        self.identities = self._identities()
        urls = [f"{address}{token.PATH}" for address in (settings.issuer, settings.mtls_url) if address is not None]
        self.possession = Possession(store=store, nonces=Nonces(store, clock=clock), urls=urls, clock=clock)
        self.standing = Standing(clock=clock)
        self.operators = Operators(self._operator_keys, store=store, audience=settings.issuer, clock=clock)
        self.stuck_work = StuckWork(clock)
        self.issuer = self._issuer()
        self.callers = self._callers()
        self.exchange = self._exchange()
        self.endings = self._endings()
        self.revocation = self._revocation()
        self.reduction = self._reduction()
        self.lifecycle = self._lifecycle()
        self.rotation = self._rotation()
        self.inquiry = self._inquiry()
        self.returning = self._returning()
        self.enforcement = Enforcement(
            acknowledgements=self.acknowledgements,
            active=self.active,
            clock=clock,
            anyone_follows=settings.anyone_follows,
        )
        self.settling = self._settling()
        self.activation = self._activation()
        self.scheduler = self._scheduler()

    @asynccontextmanager
    async def running(self, application: Litestar) -> AsyncIterator[None]:
        """Follow the feed and keep house for as long as the application runs."""
        self.trust_domains.start()
        self.adoption.start()
        self.follower.start()
        self.watch.start()
        self.oidc.start()
        self.scheduler.start()
        try:
            with _when_told_to_stop(self.streams.close):
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
            state=State({"proxies": self.configuration.settings.proxies}),
        )

    def _mutual_tls(self, application: Litestar) -> AbstractAsyncContextManager[None]:
        listener = self.configuration.listener
        return listener.serving(application) if listener is not None else contextlib.nullcontext()

    def _given(self) -> dict[str, Any]:
        names = "keys streams follower watch audit leases tasks active standing callers exchange endings revocation"
        names += " reduction lifecycle inquiry returning acknowledgements enforcement stuck_work possession adoption activation"
        names += " rotation trust_domains"
        settings = self.configuration.settings
        rooms = {name: getattr(self, name) for name in names.split()}
        mutual_tls = MutualTls(bool(settings.mtls_listen or settings.proxies), settings.mtls_url)
        return {"issuer": settings.issuer, "anyone_follows": settings.anyone_follows, "mutual_tls": mutual_tls, **rooms}

    def _identities(self) -> Identities:
        issuer, store = self.configuration.settings.issuer, self.stores.shared
        domains, between = self.configuration.trust_domains, self.configuration.intermediates
        return Identities(
            svids=JwtSvids(domains, audience=issuer, clock=self.clock),
            certificates=X509Svids(domains, intermediates=between, clock=self.clock),
            oidc=self.oidc,
            private_keys=PrivateKeys(self._workload_keys, store=store, audience=issuer, clock=self.clock),
        )

    def _workload_keys(self, name: str) -> KeySet:
        return self.active.rules.registry.workload_keys(name)

    def _keys(self) -> Keys:
        folder = self.configuration.keys
        return Keys(
            folder,
            custodies=self._custodies(),
            store=self.stores.shared,
            follower=self.stores.follower,
            clock=self.clock,
        )

    def _custodies(self) -> list[Custody]:
        """Return where keys are kept; new ones are made in the first, and what the folder had before goes on from there."""
        settings, in_folder = self.configuration.settings, FolderCustody(self.configuration.keys.wrapping)
        store = settings.key_store
        if store is None:
            return [in_folder]
        # Of its own extra, which a broker without an HSM need not have.
        from broker.keys.pkcs11 import Pkcs11Custody  # noqa: PLC0415

        pin_file = settings.path(store.pin_file)
        return [Pkcs11Custody(module=store.module, token_label=store.token_label, pin_file=pin_file), in_folder]

    def _rotation(self) -> Rotation:
        return Rotation(
            keys=self.keys,
            revocation=self.revocation,
            follower=self.follower,
            audit=self.audit,
            lifetime=self.configuration.settings.key_lifetime * 1000,
        )

    def _operator_keys(self, name: str) -> KeySet:
        return self.active.rules.registry.operator_keys(name)

    def _adoption(self, mirror: Mirror) -> Adoption:
        adoption = Adoption(
            issuer=self.configuration.settings.issuer,
            keys=self.keys,
            active=self.active,
            mirror=mirror,
            own=self.configuration.own,
            clock=self.clock,
        )
        # An embedded broker has one folder and one process, and nothing that it could differ from but its own past.
        if not self.stores.follower.is_embedded:
            adoption.remember()
        return adoption

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

    def _exchange(self) -> Exchange:
        return Exchange(
            identities=self.identities,
            possession=self.possession,
            active=self.active,
            standing=self.standing,
            tasks=self.tasks,
            issuer=self.issuer,
            follower=self.follower,
            audit=self.audit,
            watch=self.watch,
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
        )


def create() -> Litestar:
    """Make the application for one worker, from the settings that the environment names."""
    configuration = configure(settings_file.load(), may_differ=True)
    return Broker(configuration, connect(configuration.settings), clock=SystemClock()).application()


def _provided(value: Any) -> Provide:
    return Provide(lambda: value, use_cache=True, sync_to_thread=False)


def _read(problems: list[str], read: Callable[..., T], *arguments: Any) -> T | None:
    try:
        return read(*arguments)
    except ConfigurationError as error:
        problems += error.problems
        return None


@contextmanager
def _when_told_to_stop(act: Callable[[], None]) -> Iterator[None]:
    """Have the event loop act when this process is told to stop, before whatever its server does about it.

    A server waits for its streams to end before it says that it stops, and these never end by themselves.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if is_main else {}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number, handler in handlers.items():
        # The loop itself hears of signals in another way, so what the server asked of the loop is still done.
        signal.signal(number, functools.partial(_act_then, asyncio.get_running_loop(), act, handler))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _act_then(loop: asyncio.AbstractEventLoop, act: Callable[[], None], before: Any, *received: Any) -> None:
    loop.call_soon_threadsafe(act)
    before(*received)


def _locked(path: Path) -> TextIO:
    """Return a file that is locked as long as it is open: the embedded store exists once, or what it counts would be wrong."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(
            [f"{path}: another broker runs with the embedded store; set redis_url to run several"]
        ) from None
    return file


_HELD: list[TextIO] = []
