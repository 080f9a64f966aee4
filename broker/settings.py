"""The broker's settings: `broker.toml` and the environment, read once at start, typed, and refused as a whole when wrong."""

import ipaddress
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from broker import spiffe_id, toml_file, trusted_issuers
from broker.errors import ConfigurationError
from broker.identity.development import DEVELOPMENT_DOMAIN
from broker.trusted_issuers import OidcTrust, UserTrust
from scopes.client_certificate import TrustedProxy
from scopes.errors import InvalidDocument

DEFAULT_FILE = Path("broker.toml")
CONFIG_VARIABLE = "BROKER_CONFIG"
PREFIX = "BROKER_"

MAX_TTL = 900
"""The longest life of a token, in seconds, where the settings say nothing."""

# Compared as text by everybody who verifies, so it has one spelling: nothing after the host and its port (RFC 8414 §2).
_ISSUER = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_LISTEN = re.compile(r"(?P<host>[^\[\]:/\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
_LARGEST_PORT = 65535
_IN_THE_FILE_ONLY = ("trust", "key_store", "folder")
_NUMBERS = ("max_ttl", "replicas_required", "key_lifetime")
_KEY_PASSPHRASE = f"{PREFIX}KEY_PASSPHRASE"
_SHORTEST_KEY_LIFE = 900  # a key is published for seven minutes before it signs, and is followed by one that is, too
_LONGEST_KEY_LIFE = 10 * 365 * 24 * 3600


class SpiffeTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trust domain and where its bundle comes from: a file, an endpoint, or the Workload API.

    With `endpoint_spiffe_id` the file is the bundle by which the endpoint proves itself the first time.
    """

    trust_domain: str
    bundle: str | None = None
    bundle_endpoint: str | None = None
    endpoint_spiffe_id: str | None = None
    workload_api: str | None = None
    allow_private_addresses: bool = False
    intermediates: str | None = None


class ProxyTrust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The addresses of proxies that end TLS, and the header in which they pass on the client's certificate."""

    addresses: tuple[str, ...]
    header: str


class KeyStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where new keys of the broker are made and kept, instead of the key folder: a token of an HSM. Its PIN is in a file."""

    kind: Literal["pkcs11"]
    module: str
    token_label: str
    pin_file: str


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose word on identity is believed: about workloads, and by `users` about people."""

    spiffe: tuple[SpiffeTrust, ...] = ()
    oidc: tuple[OidcTrust, ...] = ()
    users: tuple[UserTrust, ...] = ()
    proxy: tuple[ProxyTrust, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`broker.toml`. Paths are relative to the file. `max_ttl` is seconds; without `redis_url` nothing is kept.

    `replicas_required` is how many replicas of a master have to confirm what counts.
    """

    issuer: str = "http://127.0.0.1:8750"
    listen: str = "127.0.0.1:8750"
    mtls_listen: str | None = None
    redis_url: str | None = None
    replicas_required: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    registry: str = "registry"
    policies: str = "policies"
    keys: str = "keys"
    key_lifetime: Annotated[int, msgspec.Meta(ge=0, le=_LONGEST_KEY_LIFE)] = 30 * 24 * 3600
    key_passphrase_file: str | None = None
    key_store: KeyStore | None = None
    trust: Trust = Trust()
    feed_access: Literal["workloads", "anyone"] | None = None
    max_ttl: Annotated[int, msgspec.Meta(ge=1, le=3600)] = MAX_TTL
    tls_certificate: str | None = None
    tls_key: str | None = None
    folder: str = ""

    def path(self, name: str) -> Path:
        """Return a configured path, seen from the folder of `broker.toml`."""
        return Path(self.folder) / name

    @property
    def embedded(self) -> bool:
        """Tell whether the store is inside the process and forgotten with it."""
        return self.redis_url is None

    @property
    def anyone_follows(self) -> bool:
        """Tell whether the feed can be read without proving who one is."""
        return self.feed_access == "anyone" or (self.feed_access is None and self.embedded)

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to listen on."""
        return _split(self.listen)

    @property
    def mtls_address(self) -> tuple[str, int] | None:
        """The host and port to listen on with mutual TLS."""
        return _split(self.mtls_listen) if self.mtls_listen is not None else None

    @property
    def mtls_url(self) -> str | None:
        """Where clients reach that: the issuer's host, at the port for mutual TLS."""
        issuer = _ISSUER.fullmatch(self.issuer)
        return f"https://{issuer['host']}:{self.mtls_address[1]}" if issuer is not None and self.mtls_address else None

    @property
    def proxies(self) -> tuple[TrustedProxy, ...]:
        """The proxies whose headers count; raises `InvalidDocument` for one that could be anybody."""
        return tuple(TrustedProxy(proxy.addresses, proxy.header) for proxy in self.trust.proxy)


def load(path: Path | None = None, *, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raise `ConfigurationError` naming file, key and nearest valid name."""
    file = path or Path(environment.get(CONFIG_VARIABLE, DEFAULT_FILE))
    if not file.exists():
        raise ConfigurationError([f"{file}: no such file; `broker init DIR` makes one, --config or {CONFIG_VARIABLE} name it"])
    document = toml_file.read(file) | _from_environment(environment)
    if "folder" in document:
        raise ConfigurationError([f"{file}: unknown key 'folder'; the folder is the one the file is in"])
    settings = toml_file.convert({**document, "folder": str(file.resolve().parent)}, Settings, where=str(file))
    problems = [f"{file}: {problem}" for problem in _problems(settings)]
    if problems:
        raise ConfigurationError(problems)
    return settings


def key_passphrase(settings: Settings, *, environment: Mapping[str, str] = os.environ) -> bytes | None:
    """Return the passphrase of the broker's keys, `None` without one; raise `ConfigurationError` if it is empty or unreadable.

    The environment wins over the file, as it does everywhere. The end of a line in the file does not belong to it.
    """
    text = environment.get(_KEY_PASSPHRASE)
    if text is None and settings.key_passphrase_file is not None:
        text = toml_file.text_of(settings.path(settings.key_passphrase_file)).rstrip("\r\n")
    if text == "":
        raise ConfigurationError([f"the passphrase of the keys is empty; remove key_passphrase_file or {_KEY_PASSPHRASE}"])
    return text.encode() if text is not None else None


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    names = {
        f"{PREFIX}{name.upper()}": name for name in Settings.__struct_fields__ if name not in ("trust", "key_store", "folder")
    }
    found = {name: environment[variable] for variable, name in names.items() if variable in environment}
    return {name: int(value) if name in _NUMBERS and value.isdecimal() else value for name, value in found.items()}


def _problems(settings: Settings) -> Iterator[str]:
    yield from _addresses(settings)
    yield from _mutual_tls(settings)
    yield from _trust(settings)
    yield from _proxies(settings)
    yield from trusted_issuers.problems_of(
        settings.trust.oidc,
        settings.trust.users,
        domains=[source.trust_domain for source in settings.trust.spiffe],
        issuer=settings.issuer,
    )
    if 0 < settings.key_lifetime < _SHORTEST_KEY_LIFE:
        yield f"key_lifetime: at least {_SHORTEST_KEY_LIFE} seconds, or 0 to rotate by hand only"
    if settings.replicas_required and settings.embedded:
        yield "replicas_required: the embedded store has no replicas; set redis_url"


def _addresses(settings: Settings) -> Iterator[str]:
    issuer, host = _ISSUER.fullmatch(settings.issuer), _host(settings.listen)
    if issuer is None:
        yield "issuer: has to be https://HOST without path and trailing slash"
    elif issuer["scheme"] == "http" and not is_loopback(issuer["host"]):
        yield "issuer: plain http is for loopback only; use https"
    if not host:
        yield "listen: has to be HOST:PORT"
    elif settings.tls_certificate is None and not is_loopback(host):
        yield "listen: plain http is for loopback only; set tls_certificate and tls_key"
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        yield "tls_certificate and tls_key go together"


def _mutual_tls(settings: Settings) -> Iterator[str]:
    if settings.mtls_listen is None:
        return
    if not _host(settings.mtls_listen):
        yield "mtls_listen: has to be HOST:PORT"
    elif settings.mtls_listen == settings.listen:
        yield "mtls_listen: is where listen is; it needs a port of its own"
    if settings.tls_certificate is None:
        yield "mtls_listen: needs tls_certificate and tls_key"


def _proxies(settings: Settings) -> Iterator[str]:
    try:
        networks = [network for proxy in settings.proxies for network in proxy.networks]
    except InvalidDocument as error:
        yield f"trust.proxy: {error}"
        return
    if any(one.version == other.version and one.overlaps(other) for one, other in itertools.combinations(networks, 2)):
        yield "trust.proxy: names an address twice, so it would not be clear which header counts"


def _trust(settings: Settings) -> Iterator[str]:
    domains = [source.trust_domain for source in settings.trust.spiffe]
    if not domains and not settings.trust.oidc:
        yield "trust: names no [[trust.spiffe]] and no [[trust.oidc]], so nobody could prove who they are"
    if len(set(domains)) != len(domains):
        yield "trust.spiffe: names a trust domain twice, so it would not be clear whose word counts"
    for source in settings.trust.spiffe:
        yield from (f"trust.spiffe ({source.trust_domain}): {problem}" for problem in _spiffe(source))
    issuer = _ISSUER.fullmatch(settings.issuer)
    local = issuer is not None and is_loopback(issuer["host"])
    local = local and all(is_loopback(_host(listen)) for listen in (settings.listen, settings.mtls_listen) if listen)
    if DEVELOPMENT_DOMAIN in domains and not local:
        yield f"trust.spiffe: {DEVELOPMENT_DOMAIN} is for development; remove it where issuer or listen is not loopback"


def _spiffe(source: SpiffeTrust) -> Iterator[str]:
    if not spiffe_id.is_trust_domain(source.trust_domain):
        yield "trust_domain: not the name of a trust domain, like prod.example.com"
    # The file of an endpoint with a SPIFFE id is no source of its own.
    file = source.bundle if source.endpoint_spiffe_id is None else None
    if sum(place is not None for place in (file, source.bundle_endpoint, source.workload_api)) != 1:
        yield "needs exactly one of bundle, bundle_endpoint and workload_api"
    if source.endpoint_spiffe_id is not None:
        yield from _endpoint_identity(source, source.endpoint_spiffe_id)
    if source.allow_private_addresses and source.bundle_endpoint is None:
        yield "allow_private_addresses: is for a bundle_endpoint"


def _endpoint_identity(source: SpiffeTrust, id: str) -> Iterator[str]:
    if source.bundle_endpoint is None or source.bundle is None:
        yield "endpoint_spiffe_id: goes with a bundle_endpoint, and with a bundle to believe it the first time"
    if spiffe_id.trust_domain(id) != source.trust_domain:
        yield f"endpoint_spiffe_id: has to be a SPIFFE id of {source.trust_domain}, whose bundle it serves"


def _split(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _host(listen: str) -> str:
    """Return the host to listen on, empty where the text is not a host and a port."""
    match = _LISTEN.fullmatch(listen)
    return match["host"] if match is not None and int(match["port"]) <= _LARGEST_PORT else ""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address stays on this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
