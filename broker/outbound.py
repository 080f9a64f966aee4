"""The one way in which the broker fetches an address that somebody configured (`TRAPS.md` 29).

Only https, or http on this machine; no redirects, no proxy of the environment, a bounded size and a bounded time. The name is
resolved once, what it stands for is checked, and what was checked is connected to: another answer of the name's server a moment
later changes nothing.
"""

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import httpcore2
import httpx2

from broker.errors import FetchFailed
from scopes.clock import Clock, Instant, SystemClock
from scopes.errors import InvalidDocument
from scopes.keys import MAX_JWKS_BYTES

TIMEOUT = 10.0
"""The seconds that one fetch may take, from the first packet to the last byte."""

MAX_BYTES = MAX_JWKS_BYTES

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# A review that was asked for is something created.
_GOOD = {"GET": (200,), "POST": (200, 201)}
_DER = True
_LARGEST_PORT = 65535
_HEADERS = (("Accept", "application/json"), ("Accept-Encoding", "identity"), ("User-Agent", "agent-broker"))

# IPv6 addresses that lead to an IPv4 one by translation (RFC 6052 §2.1); that one is what counts.
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


class _Question(NamedTuple):
    method: str
    url: str
    content: bytes = b""
    bearer: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        if not self.content:
            return []
        sent = [("Content-Type", "application/json"), ("Content-Length", str(len(self.content)))]
        return [*sent, ("Authorization", f"Bearer {self.bearer}")]


class Outbound:
    """Fetches. Blocks, so it belongs into a thread in the background."""

    def __init__(
        self,
        *,
        allow_private_addresses: bool = False,
        tls: ssl.SSLContext | None = None,
        check_peer: Callable[[bytes], None] | None = None,
        max_bytes: int = MAX_BYTES,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        """Say how to fetch: `tls` decides whom to trust, without it the usual authorities do.

        `check_peer` sees the server's certificate (DER) before anything is sent, and refuses with `InvalidDocument`.
        """
        self._allow_private_addresses = allow_private_addresses
        self._tls = tls
        self._check_peer = check_peer
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._clock = clock or SystemClock()

    def get(self, url: str) -> bytes:
        """Return what is there; raise `FetchFailed`, which says why, for anything but one good answer."""
        return self._ask(_Question("GET", url))

    def post(self, url: str, content: bytes, *, bearer: str) -> bytes:
        """Send JSON and return the answer; raise `FetchFailed` as `get` does. It says nothing of what was sent."""
        return self._ask(_Question("POST", url, content, bearer))

    def _ask(self, question: "_Question") -> bytes:
        url = question.url
        problem = problem_of(url, allow_private_addresses=self._allow_private_addresses)
        if problem:
            raise FetchFailed(f"{named(url)}: {problem}")
        try:
            return self._answer(question, httpx2.URL(url))
        except (httpcore2.ConnectError, InvalidDocument) as error:
            raise FetchFailed(f"{named(url)}: {error}") from None
        except (httpcore2.TimeoutException, TimeoutError):
            raise FetchFailed(f"{named(url)}: no whole answer within {self._timeout:g} s") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            # Without the text, which may quote what the other side sent.
            raise FetchFailed(f"{named(url)}: {type(error).__name__}") from None

    def _answer(self, question: "_Question", url: httpx2.URL) -> bytes:
        network = _Network(
            is_allowed=lambda address: is_allowed(
                address, allow_private_addresses=self._allow_private_addresses, only_loopback=url.scheme == "http"
            ),
            check_peer=self._check_peer,
            deadline=_Deadline(self._timeout, self._clock),
        )
        tls = self._tls or httpx2.create_ssl_context()
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with (
            httpcore2.ConnectionPool(ssl_context=tls, network_backend=network, retries=0) as pool,
            pool.stream(
                question.method,
                target,
                headers=[("Host", url.netloc.decode()), *_HEADERS, *question.headers],
                content=question.content or None,
            ) as response,
        ):
            return self._read(response, _GOOD[question.method])

    def _read(self, response: httpcore2.Response, good: tuple[int, ...]) -> bytes:
        if response.status not in good:
            # A redirect too: whoever configured the address meant this one.
            raise InvalidDocument(f"answered {response.status}")
        if any(name.lower() == b"content-encoding" for name, _ in response.headers):
            raise InvalidDocument("the answer is compressed, which nobody asked for")
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise InvalidDocument(f"the answer is larger than {self._max_bytes} bytes")
        return bytes(body)


def problem_of(url: str, *, allow_private_addresses: bool = False) -> str:
    """Say why an address would never be fetched, without asking anybody; empty where nothing is wrong with its text."""
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        return "not a URL"
    if parts.scheme not in ("https", "http") or not parts.host or not 0 < (parts.port or 443) <= _LARGEST_PORT:
        return "has to be https://HOST[:PORT]/…"
    if parts.userinfo or parts.fragment:
        return "a name, a password or a fragment has no place in it"
    if parts.scheme == "http" and not _is_local(parts.host):
        return "plain http is for loopback only; use https"
    literal = _literal(parts.host)
    if literal is not None and not is_allowed(literal, allow_private_addresses=allow_private_addresses):
        return _refused(parts.host)
    return ""


def is_allowed(address: Address, *, allow_private_addresses: bool = False, only_loopback: bool = False) -> bool:
    """Tell whether the broker may connect to an address: public ones, and private ones where that is said."""
    address = _meant(address)
    if only_loopback and not address.is_loopback:
        return False
    if address.is_multicast or address.is_unspecified:
        return False
    return address.is_global or allow_private_addresses


def named(url: str) -> str:
    """Name an address in an error: without query and user, for these may hold a secret."""
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        return "the address"
    return str(parts.copy_with(query=None, fragment=None, userinfo=b""))


class _Deadline:
    def __init__(self, seconds: float, clock: Clock) -> None:
        self._milliseconds = seconds * 1000
        self._clock = clock
        self._began: Instant = clock.now()

    def left(self) -> float:
        """Return the seconds that are left; raise `TimeoutError` where there are none."""
        left = (self._milliseconds - self._clock.now().since(self._began)) / 1000
        if left <= 0:
            raise TimeoutError
        return left


class _Network(httpcore2.NetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(
        self, *, is_allowed: Callable[[Address], bool], check_peer: Callable[[bytes], None] | None, deadline: _Deadline
    ) -> None:
        self._is_allowed = is_allowed
        self._check_peer = check_peer
        self._deadline = deadline
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(  # noqa: PLR0917 - as the library calls it
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Resolve the name and connect to the first of its addresses that may be, and answers."""
        failure = httpcore2.ConnectError(_refused(host))
        for address in _addresses(host, port):
            if not self._is_allowed(address):
                continue
            try:
                stream = self._sockets.connect_tcp(str(address), port, timeout=self._deadline.left())
            except httpcore2.ConnectError as error:
                failure = error
                continue
            return _Stream(stream, check_peer=self._check_peer, deadline=self._deadline)
        raise failure


class _Stream(httpcore2.NetworkStream):
    """One connection, whose every step ends with the fetch's time; `check_peer` sees the certificate before a byte is sent."""

    def __init__(
        self, stream: httpcore2.NetworkStream, *, check_peer: Callable[[bytes], None] | None, deadline: _Deadline
    ) -> None:
        self._stream = stream
        self._check_peer = check_peer
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has arrived."""
        return self._stream.read(max_bytes, timeout=self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything."""
        self._stream.write(buffer, timeout=self._deadline.left())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Shake hands and look at the server's certificate; nothing is sent to a server that is refused."""
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout=self._deadline.left())
        if self._check_peer is not None:
            try:
                self._check_peer(stream.get_extra_info("ssl_object").getpeercert(_DER))
            except InvalidDocument:
                stream.close()
                raise
        return _Stream(stream, check_peer=None, deadline=self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Tell what is known of the connection."""
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise httpcore2.ConnectError("its host has no address") from None
    # Without the zone of an IPv6 address, which such an address has only where it is link-local.
    return [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_local(host: str) -> bool:
    literal = _literal(host)
    return host == "localhost" if literal is None else literal.is_loopback


def _refused(host: str) -> str:
    return f"{host} is in a private network; set allow_private_addresses = true if that is meant"
