"""A client's certificate: from the TLS connection, or from a header that a named proxy has set, and from nobody else.

Two forms of header are read: Envoy's `x-forwarded-client-cert`, and under any other name PEM with percent-encoding, as nginx
writes `$ssl_client_escaped_cert`. What a header says is as good as the proxy that set it: it has to replace whatever its client
sent under that name.
"""

import base64
import hashlib
import ipaddress
import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from scopes.errors import InvalidDocument, ProofRequired

ENVOY_HEADER = "x-forwarded-client-cert"

MAX_CERTIFICATES = 8
"""How many certificates one chain has at most, the leaf with it; public and SPIFFE hierarchies have two to four."""

MAX_HEADER = 64 * 1024
"""The characters of a header: a chain of large RSA certificates in percent-encoding has about half of it."""

Chain = tuple[bytes, ...]
"""Certificates in DER, the leaf first; empty where there are none."""

_HEADER_NAME = re.compile(r"[a-z0-9-]+")
_ESCAPED = re.compile(r"(?:[!$&'()*+,./:;=?@A-Za-z0-9_~-]|%[0-9A-Fa-f]{2})*")
_BLOCK = r"-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/][A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----"
_PEM = re.compile(_BLOCK, re.ASCII)
_PEM_CHAIN = re.compile(rf"(?:{_BLOCK}\s*)+", re.ASCII)
# A value with a comma, a semicolon or an equals sign stands in quotes, with a backslash before a quote inside.
_ENVOY_PAIR = re.compile(r'(?P<name>[A-Za-z]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^",;=\\]*))')
_ENVOY_NAMES = frozenset({"By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"})
_ENVOY_REPEATED = frozenset({"By", "URI", "DNS"})
"""What Envoy writes once for each name that a certificate has; all else twice could mean two things."""

Element = dict[str, str]


class TrustedProxy:
    """Proxies that end TLS, by the addresses they call from, and the header in which they pass on the client's certificate."""

    def __init__(self, addresses: Iterable[str], header: str) -> None:
        """Read addresses and networks (`10.0.0.7`, `10.0.0.0/8`), and the header's name in lower case.

        Raises `InvalidDocument` for what is none of these, and for a network that is everybody.
        """
        self.header = header
        self.networks = tuple(_network(address) for address in addresses)
        if not self.networks:
            raise InvalidDocument("names no address, so there is no proxy to trust")
        if _HEADER_NAME.fullmatch(header) is None:
            raise InvalidDocument(f"{header!a} is not the name of a header in lower case")

    def trusts(self, peer: str | None) -> bool:
        """Tell whether the address at the other end of the connection is one of these proxies'."""
        address = _address(peer)
        return address is not None and any(address in network for network in self.networks)

    def chain(self, values: Sequence[str]) -> Chain:
        """Return the certificates of the header's values; raise `InvalidDocument` unless it stands there once and is whole.

        An empty value, or none, says that the client showed no certificate.
        """
        if len(values) > 1:
            raise InvalidDocument(f"{self.header} stands there twice")
        unverified_value = values[0] if values else ""
        if not unverified_value:
            return ()
        if len(unverified_value) > MAX_HEADER:
            raise InvalidDocument(f"{self.header} is larger than {MAX_HEADER} characters")
        return _envoy_chain(unverified_value) if self.header == ENVOY_HEADER else _escaped_chain(unverified_value)


class Shown(NamedTuple):
    """The certificates that a request shows. `untrusted` names a header for them that came from somebody who is no proxy."""

    unverified_chain: Chain = ()
    untrusted: str = ""


AsgiScope = Mapping[str, Any]
"""What an ASGI server says about a connection and its request (ASGI, "HTTP Connection Scope")."""


def shown(scope: AsgiScope, proxies: Iterable[TrustedProxy] = ()) -> Shown:
    """Return the certificates that a request shows, on its connection or through one of the proxies.

    Only the header of the proxy at the other end is read. Raises `InvalidDocument` where that one is not whole, and where the
    proxy shows a certificate of its own as well, for then it is not clear who calls.
    """
    connected = of_connection(scope)
    forwarded = _forwarded(scope, tuple(proxies))
    if connected and forwarded.unverified_chain:
        raise InvalidDocument("a certificate in a header, and another one of the proxy itself")
    return forwarded._replace(unverified_chain=connected) if connected else forwarded


def leaf(scope: AsgiScope, proxies: Iterable[TrustedProxy] = ()) -> bytes | None:
    """Return the certificate to verify a bound token with, in DER; `None` where the request shows none.

    Raises `ProofRequired` where it cannot be told which.
    """
    try:
        chain = shown(scope, proxies).unverified_chain
    except InvalidDocument as error:
        raise ProofRequired(f"the client's certificate cannot be read: {error}") from None
    return chain[0] if chain else None


def of_connection(scope: AsgiScope) -> Chain:
    """Return the certificates that the client showed in the TLS handshake (ASGI, "TLS Extension")."""
    connection = (scope.get("extensions") or {}).get("tls") or {}
    return tuple(ssl.PEM_cert_to_DER_cert(pem) for pem in connection.get("client_cert_chain") or ())


def thumbprint(certificate: bytes) -> str:
    """Return what a token bound to the certificate says in `x5t#S256` (RFC 8705 §3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def _forwarded(scope: AsgiScope, proxies: tuple[TrustedProxy, ...]) -> Shown:
    peer, values = (scope.get("client") or (None,))[0], _values(scope)
    for proxy in proxies:
        if proxy.trusts(peer):
            return Shown(proxy.chain([value for name, value in values if name == proxy.header]))
    names = {proxy.header for proxy in proxies}
    return Shown(untrusted=next((name for name, value in values if name in names), ""))


def _values(scope: AsgiScope) -> list[tuple[str, str]]:
    return [(name.decode("latin-1").lower(), value.decode("latin-1").strip()) for name, value in scope["headers"]]


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidDocument(f"{text!a} is neither an address nor a network: {error}") from None
    if not network.prefixlen:
        raise InvalidDocument(f"{text} is everybody, so anyone could say who they are")
    return network


def _address(peer: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return None
    # A socket for both kinds writes an IPv4 address as IPv6 (RFC 4291 §2.5.5.2).
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _escaped_chain(unverified_text: str) -> Chain:
    if _ESCAPED.fullmatch(unverified_text) is None:
        raise InvalidDocument("not PEM with percent-encoding")
    pem = unquote(unverified_text, encoding="latin-1")
    if _PEM_CHAIN.fullmatch(pem) is None:
        raise InvalidDocument("not certificates in PEM and nothing else")
    blocks = _PEM.findall(pem)
    if len(blocks) > MAX_CERTIFICATES:
        raise InvalidDocument(f"more than {MAX_CERTIFICATES} certificates")
    try:
        return tuple(base64.b64decode("".join(block.split()), validate=True) for block in blocks)
    except ValueError:
        raise InvalidDocument("not certificates in PEM: the base64 is broken") from None


def _envoy_chain(unverified_value: str) -> Chain:
    # Each proxy on the way adds an element at the end, so the last one is what the trusted proxy itself has seen.
    element = _envoy_elements(unverified_value)[-1]
    named = element.get("Chain") or element.get("Cert")
    if not named:
        raise InvalidDocument("names no certificate: have the proxy send Cert, or Chain")
    chain = _escaped_chain(named)
    if element.get("Cert") and _escaped_chain(element["Cert"]) != chain[:1]:
        raise InvalidDocument("Cert is not the first certificate of Chain")
    digest = hashlib.sha256(chain[0]).hexdigest()
    if element.get("Hash", digest).lower() != digest:
        raise InvalidDocument("Hash is another certificate's")
    return chain


def _envoy_elements(text: str) -> list[Element]:
    elements: list[Element] = [{}]
    position = 0
    while True:
        pair = _ENVOY_PAIR.match(text, position)
        if pair is None:
            raise InvalidDocument(f"{ENVOY_HEADER} is not written as it has to be")
        _add(elements[-1], pair)
        position = pair.end()
        if position == len(text):
            return elements
        if text[position] == ",":
            elements.append({})
        elif text[position] != ";":
            raise InvalidDocument(f"{ENVOY_HEADER} is not written as it has to be")
        position += 1


def _add(element: Element, pair: re.Match[str]) -> None:
    name, quoted = pair["name"], pair["quoted"]
    if name not in _ENVOY_NAMES or (name in element and name not in _ENVOY_REPEATED):
        raise InvalidDocument(f"{ENVOY_HEADER} has {name} twice, or it is not known")
    element[name] = pair["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
