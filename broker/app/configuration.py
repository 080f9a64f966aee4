"""Everything that is read from files, validated together, before anything starts."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from broker import bindings
from broker import settings as settings_file
from broker.active.own_files import Folders, OwnFiles
from broker.active.sources import Objections
from broker.api.mutual_tls import Certificate, Listener
from broker.bindings import Vouching
from broker.errors import ConfigurationError
from broker.identity import (
    Intermediates,
    TrustDomain,
    TrustDomains,
    TrustedIssuer,
    TrustedUsers,
)
from broker.identity.bundle_sources import bundle_source
from broker.keys import KeyFolder
from broker.policy import PolicyFolder
from broker.registry.registry import Registry
from broker.settings import Settings, SpiffeTrust
from broker.trusted_issuers import OidcTrust, UserTrust
from scopes.clock import SystemClock

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
    users: tuple[TrustedUsers, ...] = ()

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
    people = tuple(_read(problems, _trusted_users, settings, trust) for trust in settings.trust.users)
    listener = _read(problems, _listener, settings, known) if settings.mtls_address is not None else None
    if problems or keys is None:
        raise ConfigurationError(problems)
    intermediates = {name: found for name, found in between.items() if found is not None}
    trusted = tuple(issuer for issuer in issuers if issuer is not None)
    users = tuple(trust for trust in people if trust is not None)
    return Configuration(settings, own, keys, known, intermediates, listener, trusted, users)


def objections(settings: Settings) -> Objections:
    """Return what finds all that these settings have against a registry: unknown trusts it names, and unsafe bindings."""
    issuers = {trust.name: Vouching(trust.platform, trust.identified_by) for trust in settings.trust.oidc}
    users = [trust.name for trust in settings.trust.users]
    return lambda registry: [*bindings.problems_of(registry.content, issuers, users)]


def _trusted_issuer(settings: Settings, trust: OidcTrust) -> TrustedIssuer:
    return trust.trusted(issuer=settings.issuer, at=settings.path, clock=SystemClock())


def _trusted_users(settings: Settings, trust: UserTrust) -> TrustedUsers:
    return trust.trusted(at=settings.path, clock=SystemClock())


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


def _read(problems: list[str], read: Callable[..., T], *arguments: Any) -> T | None:
    try:
        return read(*arguments)
    except ConfigurationError as error:
        problems += error.problems
        return None
