"""Client certificates from the TLS connection, and from the headers of proxies (TRAPS 11)."""

import hashlib
import ssl
from typing import Any

import pytest

from scopes import ProofRequired, client_certificate
from scopes.client_certificate import MAX_CERTIFICATES, MAX_HEADER, TrustedProxy
from scopes.errors import InvalidDocument
from tests.scopes.certificates import authority, escaped, leaf

ROOT = authority()
BOT, OTHER = leaf(ROOT, "spiffe://prod/bot"), leaf(ROOT, "spiffe://prod/other")
MIDDLE = authority("middle", ROOT)

NGINX = TrustedProxy(["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"], "ssl-client-cert")
ENVOY = TrustedProxy(["192.0.2.7"], "x-forwarded-client-cert")
CERT, CHAIN = f'Cert="{escaped(BOT)}"', f'Chain="{escaped(BOT, MIDDLE)}"'
HASH = f"Hash={hashlib.sha256(BOT.der).hexdigest()}"


def scope(*headers: tuple[str, str], peer: str | None = "10.1.2.3", connected: Any = None) -> dict[str, Any]:
    """Write what a server says about a request."""
    client = (peer, 4711) if peer is not None else None
    tls = {"tls": {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in connected]}} if connected is not None else {}
    return {"client": client, "headers": [(name.encode(), value.encode()) for name, value in headers], "extensions": tls}


# Whose header counts


@pytest.mark.parametrize("peer", ["10.1.2.3", "10.255.255.255", "127.0.0.1", "2001:db8::7", "::ffff:10.1.2.3"])
def test_a_header_of_a_trusted_proxy_counts(peer):
    shown = client_certificate.shown(scope(("ssl-client-cert", escaped(BOT)), peer=peer), [NGINX])
    assert shown == ((BOT.der,), "")


@pytest.mark.parametrize(
    "peer", ["11.0.0.1", "127.0.0.2", "2001:db9::7", "::ffff:11.0.0.1", "", "localhost", "10.1.2.3.evil", None]
)
def test_a_header_of_anybody_else_does_not(peer):
    """TRAPS 11: trusted from anyone."""
    shown = client_certificate.shown(scope(("ssl-client-cert", escaped(BOT)), peer=peer), [NGINX])
    assert shown == ((), "ssl-client-cert")


def test_a_proxy_speaks_in_its_own_header_only():
    """A client could send the header of another proxy through one that knows nothing of it."""
    forged = ("x-forwarded-client-cert", CERT)
    assert client_certificate.shown(scope(forged), [NGINX, ENVOY]) == ((), "")
    assert client_certificate.shown(scope(forged, peer="192.0.2.7"), [NGINX, ENVOY]).unverified_chain == (BOT.der,)


def test_without_proxies_no_header_means_anything():
    assert client_certificate.shown(scope(("ssl-client-cert", escaped(BOT)))) == ((), "")


def test_a_header_without_a_value_says_that_there_was_no_certificate():
    """So nginx writes `$ssl_client_escaped_cert` of a client without one."""
    assert client_certificate.shown(scope(("ssl-client-cert", "")), [NGINX]) == ((), "")


@pytest.mark.parametrize(
    ("addresses", "header"),
    [
        pytest.param(["0.0.0.0/0"], "ssl-client-cert", id="everybody"),
        pytest.param(["10.0.0.7", "::/0"], "ssl-client-cert", id="everybody with IPv6"),
        pytest.param([], "ssl-client-cert", id="nobody"),
        pytest.param(["10.0.0.1/8"], "ssl-client-cert", id="neither an address nor a network"),
        pytest.param(["proxy.internal"], "ssl-client-cert", id="a name"),
        pytest.param(["10.0.0.7"], "Ssl-Client-Cert", id="not in lower case"),
        pytest.param(["10.0.0.7"], "", id="no header"),
        pytest.param(["10.0.0.7"], "a: b", id="not a header"),
    ],
)
def test_a_proxy_that_could_be_anybody_is_refused(addresses, header):
    with pytest.raises(InvalidDocument):
        TrustedProxy(addresses, header)


# The form that nginx sends


def test_a_chain_in_percent_encoding_is_read_leaf_first():
    assert NGINX.chain([escaped(BOT, MIDDLE)]) == (BOT.der, MIDDLE.der)


def test_what_needs_no_encoding_may_stand_without():
    """Some proxies leave the letters of base64 as they are."""
    assert NGINX.chain([BOT.pem.decode().replace("\n", "%0A").replace(" ", "%20")]) == (BOT.der,)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([escaped(BOT), escaped(BOT)], id="twice (TRAPS 11)"),
        pytest.param(["", escaped(BOT)], id="twice, once empty"),
        pytest.param([escaped(BOT) + "," + escaped(OTHER)], id="two headers made one"),
        pytest.param([BOT.pem.decode()], id="not encoded"),
        pytest.param([BOT.pem.decode().replace("\n", "\n\t")], id="as folded lines (nginx $ssl_client_cert)"),
        pytest.param([escaped(BOT) + "%"], id="a broken escape"),
        pytest.param([escaped(BOT) + "%0"], id="half an escape"),
        pytest.param(["hello%0A" + escaped(BOT)], id="text before"),
        pytest.param([escaped(BOT) + "hello"], id="text after"),
        pytest.param([escaped(BOT)[:-30]], id="cut off"),
        pytest.param([escaped(BOT).replace("CERTIFICATE", "PUBLIC%20KEY")], id="not a certificate"),
        pytest.param(["-----BEGIN%20CERTIFICATE-----%0AAAA=A%0A-----END%20CERTIFICATE-----"], id="broken base64"),
        pytest.param(["-----BEGIN%20CERTIFICATE-----%0A%0A-----END%20CERTIFICATE-----" * 2], id="empty, in one line"),
        pytest.param([escaped(*[BOT] * (MAX_CERTIFICATES + 1))], id="too many"),
        pytest.param(["%0A" * MAX_HEADER], id="too large"),
        pytest.param(["FAILED:self-signed certificate"], id="the verdict instead of the certificate"),
    ],
)
def test_a_header_that_is_not_whole_is_refused(values):
    with pytest.raises(InvalidDocument):
        NGINX.chain(values)


# The form that Envoy sends


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(CERT, id="Cert alone"),
        pytest.param(f"By=spiffe://prod/broker;{HASH};{CERT};URI=spiffe://prod/bot;URI=;DNS=a.test;DNS=b.test", id="all of it"),
        pytest.param(f"{HASH.upper().replace('HASH', 'Hash')};{CERT}", id="Hash in capitals"),
        pytest.param(f'{CERT};Subject="CN=a;Cert=x, O=\\"quoted, and ; more\\""', id="separators inside quotes (TRAPS 11)"),
        pytest.param(f"Cert={escaped(BOT)}", id="without quotes, for nothing in it needs them"),
        pytest.param(f'Cert="{escaped(OTHER)}",{CERT}', id="several elements: the last one is the proxy's"),
        pytest.param(f"URI=spiffe://prod/other,{HASH};{CERT}", id="an element without a certificate before"),
        pytest.param(f'Subject="a\\",Cert=";{CERT}', id="an escaped quote does not end the value"),
    ],
)
def test_the_last_element_of_the_header_of_envoy_names_the_client(value):
    assert ENVOY.chain([value]) == (BOT.der,)


def test_the_whole_chain_is_taken_where_envoy_sends_it():
    assert ENVOY.chain([f"{HASH};{CERT};{CHAIN}"]) == ENVOY.chain([CHAIN]) == (BOT.der, MIDDLE.der)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(f'{CERT};Cert="{escaped(OTHER)}"', id="Cert twice"),
        pytest.param(f'Cert="{escaped(OTHER)}";{CHAIN}', id="Cert and Chain name different leaves"),
        pytest.param(f"Hash={'0' * 64};{CERT}", id="Hash of another certificate"),
        pytest.param(f"Hash=;{CERT}", id="Hash without a value"),
        pytest.param(HASH, id="no certificate, only its hash"),
        pytest.param("URI=spiffe://prod/bot", id="a name instead of a certificate"),
        pytest.param(f"{CERT},URI=spiffe://prod/bot", id="the last element has no certificate"),
        pytest.param('Cert=""', id="an empty certificate"),
        pytest.param(f"{CERT},", id="a comma at the end"),
        pytest.param(f"{CERT};", id="a semicolon at the end"),
        pytest.param(f",{CERT}", id="a comma first"),
        pytest.param(f"{CERT} ;{HASH}", id="white space"),
        pytest.param(f"{CERT}{HASH}", id="no separator"),
        pytest.param(f"cert={escaped(OTHER)};{CERT}", id="a name in other letters"),
        pytest.param(f"Other=x;{CERT}", id="an unknown name"),
        pytest.param(f'Subject="a;{CERT}', id="a quote that is not closed"),
        pytest.param(f"Subject=CN=a;{CERT}", id="an equals sign without quotes"),
        pytest.param(f"URI=spiffe://a\\;{CERT}", id="a backslash without quotes"),
        pytest.param("Cert", id="no value"),
    ],
)
def test_a_header_of_envoy_that_could_mean_two_things_is_refused(value):
    with pytest.raises(InvalidDocument):
        ENVOY.chain([value])


# The TLS connection


def test_the_certificates_of_the_connection_are_those_of_the_handshake():
    assert client_certificate.shown(scope(connected=[BOT.der, MIDDLE.der])).unverified_chain == (BOT.der, MIDDLE.der)
    assert client_certificate.shown(scope(connected=[])).unverified_chain == ()
    assert client_certificate.shown({"headers": [], "client": None}).unverified_chain == ()
    assert client_certificate.shown({"headers": [], "extensions": None}).unverified_chain == ()


def test_a_strangers_header_changes_nothing_about_a_connection():
    shown = client_certificate.shown(scope(("ssl-client-cert", escaped(OTHER)), peer="11.0.0.1", connected=[BOT.der]), [NGINX])
    assert shown.unverified_chain == (BOT.der,)


def test_a_proxy_with_a_certificate_of_its_own_is_not_its_client():
    with pytest.raises(InvalidDocument):
        client_certificate.shown(scope(("ssl-client-cert", escaped(OTHER)), connected=[BOT.der]), [NGINX])


# What a service verifies with


def test_a_service_takes_the_leaf():
    assert client_certificate.leaf(scope(connected=[BOT.der, MIDDLE.der])) == BOT.der
    assert client_certificate.leaf(scope(("ssl-client-cert", escaped(BOT, MIDDLE))), [NGINX]) == BOT.der
    assert client_certificate.leaf(scope()) is None


def test_a_service_refuses_what_it_cannot_read():
    with pytest.raises(ProofRequired):
        client_certificate.leaf(scope(("ssl-client-cert", "?")), [NGINX])


def test_a_thumbprint_is_the_one_of_the_standard():
    """RFC 8705 §3.1, with 43 characters of base64url."""
    assert client_certificate.thumbprint(b"") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
