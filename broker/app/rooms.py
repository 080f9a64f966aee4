"""The rooms of one worker: identities, keys, the feed, and what is kept in the store."""

from collections.abc import Callable

from broker.active import Active
from broker.active.adoption import Adoption
from broker.api import (
    token,
)
from broker.app.configuration import Configuration
from broker.app.stores import Stores
from broker.audit import Audit
from broker.feed.acknowledgements import Acknowledgements
from broker.feed.activated import Mirror
from broker.feed.epoch_file import EpochFile
from broker.feed.follower import Follower
from broker.feed.journal import Journal
from broker.feed.log import Log
from broker.feed.streams import Streams
from broker.identity import (
    Identities,
    JwtSvids,
    OidcTokens,
    Users,
    X509Svids,
)
from broker.identity.private_key import PrivateKeys
from broker.keys import Custody, FolderCustody
from broker.keys.keys import Keys
from broker.leases import Leases
from broker.operators import Operators
from broker.possession import Nonces, Possession
from broker.refusals import Refusals
from broker.standing import Standing
from broker.store.watch import Watch
from broker.stuck_work import StuckWork
from broker.tasks import Exposures, Tasks
from scopes.clock import Clock
from scopes.keys import KeySet


class Rooms:
    """What keeps and tells things, for the use cases to be built upon; `on_swap` is theirs to set."""

    on_swap: Callable[[], None] = staticmethod(lambda: None)

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
        self.acknowledgements = Acknowledgements(store, anyone_follows=settings.anyone_follows)
        self.audit = Audit(store, clock=clock)
        self.leases = Leases(store)
        self.watch = Watch(settings.redis_url, clock=clock, replicas_required=settings.replicas_required)
        self.tasks = Tasks(store, audit=self.audit, clock=clock, watch=self.watch)
        self.exposures = Exposures(store, log=self.log, audit=self.audit)
        self.refusals = Refusals(store, audit=self.audit, clock=clock)
        self.oidc = OidcTokens(configuration.issuers, clock=clock)
        self.users = Users(configuration.users, clock=clock)
        self.identities = self._identities()
        urls = [f"{address}{token.PATH}" for address in (settings.issuer, settings.mtls_url) if address is not None]
        self.possession = Possession(store=store, nonces=Nonces(store, clock=clock), urls=urls, clock=clock)
        self.standing = Standing(clock=clock)
        self.operators = Operators(self._operator_keys, store=store, audience=settings.issuer, clock=clock)
        self.stuck_work = StuckWork(clock)

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
            # Asked late, for the use cases come after the rooms.
            on_swap=lambda: self.on_swap(),  # noqa: PLW0108
        )
        # An embedded broker has one folder and one process, and nothing that it could differ from but its own past.
        if not self.stores.follower.is_embedded:
            adoption.remember()
        return adoption
