"""Workloads by their X.509-SVIDs (SPIFFE X509-SVID §2 to §5)."""

import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.errors import ConfigurationError, InvalidClient, Unavailable
from broker.identity import TrustDomain
from broker.identity.bundle import UNKNOWN, Bundle
from broker.identity.trust_domain import BundleState
from broker.identity.x509 import MAX_CERTIFICATE, MAX_INTERMEDIATES, Intermediates, X509Svids
from broker.workload import Workload
from scopes.client_certificate import MAX_CERTIFICATES, thumbprint
from tests.broker.clocks import StillClock
from tests.scopes.certificates import DIGITAL_SIGNATURE, START, URI, Made, authority, leaf, rsa_key

BOT = "spiffe://prod/ns/support/sa/bot"

PROD, STAGE, STRANGER = authority("prod"), authority("stage"), authority("prod")
"""Authorities: of the domain `prod`, of the domain `stage`, and one of the same name that nobody configured."""

MIDDLE = authority("middle", PROD)


class Held:
    """Where a domain's bundle comes from: whatever the test says."""

    state = BundleState("a test", 0.0)

    def __init__(self, *authorities: Made) -> None:
        self.woken = 0
        self.hold(*authorities)

    def hold(self, *authorities: Made) -> None:
        self.bundle = Bundle(x509_authorities=tuple(made.certificate for made in authorities))

    def start(self) -> None: ...

    def wake(self) -> None:
        self.woken += 1

    def close(self) -> None: ...


class Domains:
    def __init__(self) -> None:
        self.clock = StillClock()
        self.prod, self.stage = Held(PROD), Held(STAGE)
        self.identity = self.believing()

    def believing(self, **intermediates: Intermediates) -> X509Svids:
        domains = TrustDomain("prod", self.prod), TrustDomain("stage", self.stage)
        return X509Svids(domains, intermediates=intermediates, clock=self.clock)

    def authenticate(self, *chain: Made) -> Workload:
        return self.identity.authenticate(tuple(made.der for made in chain))


@pytest.fixture
def domains() -> Domains:
    return Domains()


def chain_of(length: int) -> list[Made]:
    """Make a leaf below so many intermediates, and the intermediates from the lowest on."""
    between: list[Made] = []
    for number in range(length):
        between.insert(0, authority(f"level-{number}", between[0] if between else PROD))
    return [leaf(between[0], BOT), *between]


def below(**changes: Any) -> list[Made]:
    """Make a leaf below an intermediate with these changes."""
    middle = authority("between", **{"issuer": PROD, **changes})
    return [leaf(middle, BOT), middle]


# Good ones


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([leaf(PROD, BOT)], id="a leaf, as SPIRE makes it"),
        pytest.param([leaf(MIDDLE, BOT), MIDDLE], id="with its intermediate"),
        pytest.param(chain_of(MAX_INTERMEDIATES), id="with many intermediates"),
        pytest.param([leaf(MIDDLE, BOT), MIDDLE, PROD], id="with the authority too, which changes nothing"),
        pytest.param([leaf(PROD, BOT), STRANGER], id="with a certificate that has nothing to do with it"),
        pytest.param([leaf(PROD, BOT, key=rsa_key())], id="an RSA key"),
        pytest.param([leaf(PROD, BOT, key=ec.generate_private_key(ec.SECP384R1()))], id="a longer EC key"),
        pytest.param([leaf(PROD, BOT, extended=None)], id="without extended key usage (§4.4)"),
        pytest.param([leaf(PROD, BOT, ca=None)], id="without basic constraints"),
        pytest.param([leaf(PROD, BOT, names=[URI(BOT), x509.DNSName("bot.test")])], id="with a DNS name beside the URI (§2)"),
        pytest.param(below(path_length=0), id="below an authority that may sign leaves only"),
        pytest.param(
            below(more=[(x509.NameConstraints([x509.DNSName("prod.test")], None), True)]),
            id="below one with names it does not use",
        ),
    ],
)
def test_an_svid_of_a_trusted_domain_proves_its_workload(domains: Domains, chain: list[Made]) -> None:
    assert domains.authenticate(*chain) == Workload(
        BOT,
        expires=int((START + datetime.timedelta(hours=2)).timestamp()),
        source="x509-svid",
        certificate=thumbprint(chain[0].der),
    )


def test_an_authority_may_have_an_rsa_key(domains: Domains) -> None:
    rsa_authority = authority("prod", key=rsa_key())
    domains.prod.hold(PROD, rsa_authority)
    assert domains.authenticate(leaf(rsa_authority, BOT)).id == BOT


def test_each_domain_has_its_own_authorities(domains: Domains) -> None:
    assert domains.authenticate(leaf(STAGE, "spiffe://stage/bot")).trust == "stage"
    assert domains.authenticate(leaf(PROD, "spiffe://prod/bot")).trust == "prod"


# Hostile ones


def named(*names: x509.GeneralName) -> list[Made]:
    return [leaf(PROD, BOT, names=list(names))]


HOUR = datetime.timedelta(hours=1)
NOT_A_CA = leaf(PROD, BOT)

HOSTILE = {
    "two URIs (TRAPS 9)": named(URI(BOT), URI("spiffe://prod/other")),
    "the same URI twice (TRAPS 9)": named(URI(BOT), URI(BOT)),
    "no URI": named(x509.DNSName("bot.test")),
    "no name at all": named(),
    "a URI that is not a SPIFFE id": named(URI("https://prod/ns/support/sa/bot")),
    "a trust domain without a path (TRAPS 9)": named(URI("spiffe://prod")),
    "an id that ends in a slash": named(URI(f"{BOT}/")),
    "an id with an escape": named(URI("spiffe://prod/ns/%73upport/sa/bot")),
    "an id with a query": named(URI(f"{BOT}?x=y")),
    "an id with a port": named(URI("spiffe://prod:443/ns/support/sa/bot")),
    "an unknown domain": named(URI("spiffe://elsewhere/bot")),
    "a domain that begins like a known one (TRAPS 9)": named(URI("spiffe://prod.evil.test/bot")),
    "a domain that ends like a known one (TRAPS 9)": named(URI("spiffe://evil-prod/bot")),
    "a domain in capitals": named(URI("spiffe://PROD/bot")),
    "the authority of another domain (TRAPS 9)": [leaf(STAGE, BOT)],
    "an authority of the same name (TRAPS 9)": [leaf(STRANGER, BOT)],
    "an unknown authority that was sent along (TRAPS 9)": [leaf(STRANGER, BOT), STRANGER],
    "self-signed": [leaf(None, BOT)],
    "self-signed, and sent twice": [leaf(None, BOT)] * 2,
    "without its intermediate": [leaf(MIDDLE, BOT)],
    "an authority's certificate as leaf (TRAPS 9)": [authority("x", PROD, names=[URI(BOT)])],
    "an authority's certificate as leaf, which may sign itself too": [
        authority("x", PROD, names=[URI(BOT)], usages=frozenset({"digital_signature", "key_cert_sign"}))
    ],
    "a leaf signed by a leaf (TRAPS 9)": [leaf(NOT_A_CA, BOT), NOT_A_CA],
    "keyCertSign (§4.3)": [leaf(PROD, BOT, usages=DIGITAL_SIGNATURE | {"key_cert_sign"})],
    "cRLSign (§4.3)": [leaf(PROD, BOT, usages=DIGITAL_SIGNATURE | {"crl_sign"})],
    "no digitalSignature (§4.3)": [leaf(PROD, BOT, usages=frozenset({"key_encipherment"}))],
    "no key usage (§4.3)": [leaf(PROD, BOT, usages=None)],
    "extended key usage for servers only (§4.4)": [leaf(PROD, BOT, extended=[ExtendedKeyUsageOID.SERVER_AUTH])],
    "extended key usage for anything (§4.4)": [leaf(PROD, BOT, extended=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])],
    "expired": [leaf(PROD, BOT, start=START - 3 * HOUR)],
    "not yet good": [leaf(PROD, BOT, start=START + 2 * HOUR)],
    "below an intermediate that has expired": below(start=START - 3 * HOUR),
    "below an intermediate that may not sign": below(usages=DIGITAL_SIGNATURE),
    "below an intermediate whose path is used up (RFC 5280 §4.2.1.9)": [
        leaf(last := authority("last", first := authority("first", PROD, path_length=0)), BOT),
        last,
        first,
    ],
    "below too many intermediates": chain_of(MAX_INTERMEDIATES + 1),
    "outside the names of its authority (RFC 5280 §4.2.1.10)": [
        leaf(
            named_only := authority("a", PROD, more=[(x509.NameConstraints([x509.DNSName("prod.test")], None), True)]),
            BOT,
            names=[URI(BOT), x509.DNSName("evil.test")],
        ),
        named_only,
    ],
    "outside the URIs of its authority (§4.2)": below(more=[(x509.NameConstraints([URI("elsewhere")], None), True)]),
    "inside URIs that are excluded (§4.2)": below(more=[(x509.NameConstraints(None, [URI("prod")]), True)]),
    "a critical extension that nobody knows": [
        leaf(PROD, BOT, more=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)])
    ],
    "a short RSA key": [leaf(PROD, BOT, key=rsa_key(1024))],
    "a key that the path check does not know": [leaf(PROD, BOT, key=ed25519.Ed25519PrivateKey.generate())],
    "too many certificates": [leaf(PROD, BOT), *[MIDDLE] * MAX_CERTIFICATES],
}


@pytest.mark.parametrize("chain", HOSTILE.values(), ids=HOSTILE)
def test_a_certificate_that_is_not_an_svid_of_its_domain_proves_nothing(domains: Domains, chain: list[Made]) -> None:
    with pytest.raises(InvalidClient) as refused:
        domains.authenticate(*chain)
    assert refused.value.code == "invalid_client"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("two URIs (TRAPS 9)", "exactly one URI"),
        ("an authority's certificate as leaf (TRAPS 9)", "a certificate authority's"),
        ("keyCertSign (§4.3)", "its key usage"),
        ("extended key usage for servers only (§4.4)", "its extended key usage"),
        ("an authority of the same name (TRAPS 9)", "no path to an authority"),
        ("an unknown domain", "a trusted domain"),
    ],
)
def test_whoever_is_refused_is_told_what_is_wrong_with_the_certificate(domains: Domains, name: str, why: str) -> None:
    with pytest.raises(InvalidClient, match=why):
        domains.authenticate(*HOSTILE[name])


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param((), id="nothing"),
        pytest.param((b"",), id="empty"),
        pytest.param((b"-----BEGIN CERTIFICATE-----",), id="PEM"),
        pytest.param((b"\x30\x80" + b"\x00" * 20,), id="broken DER"),
        pytest.param((leaf(PROD, BOT).der + b"\x00",), id="something after the certificate"),
        pytest.param((leaf(PROD, BOT).der[:-1],), id="cut off"),
        pytest.param((leaf(PROD, BOT).der, b"x"), id="an intermediate that is none"),
        pytest.param((b"\x30" * (MAX_CERTIFICATE + 1),), id="too large"),
    ],
)
def test_bytes_that_are_no_certificate_prove_nothing(domains: Domains, chain: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidClient):
        domains.identity.authenticate(chain)


def test_an_authority_that_was_replaced_with_a_leaf_is_not_its_own_witness(domains: Domains) -> None:
    """Not even a certificate that somebody put into the bundle proves itself."""
    own = leaf(None, BOT)
    domains.prod.hold(own)
    with pytest.raises(InvalidClient):
        domains.authenticate(own)


def test_a_domain_without_x509_authorities_has_no_x509_workloads(domains: Domains) -> None:
    domains.prod.hold()
    with pytest.raises(InvalidClient):
        domains.authenticate(leaf(PROD, BOT))


def test_the_trust_store_of_the_system_counts_for_nothing(domains: Domains, tmp_path: Path, monkeypatch: Any) -> None:
    """TRAPS 9."""
    (tmp_path / "system.pem").write_bytes(STRANGER.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    with pytest.raises(InvalidClient):
        domains.authenticate(leaf(STRANGER, BOT))


def test_an_authority_that_is_not_known_has_the_bundle_looked_at_again(domains: Domains) -> None:
    domains.authenticate(leaf(PROD, BOT))
    assert domains.prod.woken == 0
    with pytest.raises(InvalidClient):
        domains.authenticate(leaf(STRANGER, BOT))
    assert (domains.prod.woken, domains.stage.woken) == (1, 0)


# What was verified once is looked at again


def test_a_chain_seen_before_is_refused_when_its_bundle_has_changed(domains: Domains) -> None:
    bot = leaf(PROD, BOT)
    assert domains.authenticate(bot) == domains.authenticate(bot)
    domains.prod.hold(STRANGER)
    with pytest.raises(InvalidClient):
        domains.authenticate(bot)
    domains.prod.hold(PROD, STRANGER)
    assert domains.authenticate(bot).id == BOT


def test_a_chain_seen_before_is_refused_when_its_time_is_over(domains: Domains) -> None:
    bot = leaf(PROD, BOT, lifetime=2 * HOUR)
    domains.authenticate(bot)
    domains.clock.advance(3_599_000)
    assert domains.authenticate(bot).id == BOT
    domains.clock.advance(2_000)
    with pytest.raises(InvalidClient):
        domains.authenticate(bot)


def test_a_chain_seen_before_is_refused_when_the_time_of_its_intermediate_is_over(domains: Domains) -> None:
    """A session that is kept open, or taken up again, lives no longer than what it was opened with."""
    chain = below(lifetime=HOUR + datetime.timedelta(minutes=1))
    domains.authenticate(*chain)
    domains.clock.advance(61_000)
    with pytest.raises(InvalidClient):
        domains.authenticate(*chain)


def test_a_chain_seen_before_is_refused_while_the_clock_stands_before_its_time(domains: Domains) -> None:
    bot = leaf(PROD, BOT)
    domains.authenticate(bot)
    domains.clock.advance(-7_200_000)
    with pytest.raises(InvalidClient):
        domains.authenticate(bot)


def test_a_leaf_seen_with_its_intermediate_needs_it_again(domains: Domains) -> None:
    bot = leaf(MIDDLE, BOT)
    domains.authenticate(bot, MIDDLE)
    with pytest.raises(InvalidClient):
        domains.authenticate(bot)


def test_what_is_remembered_is_bounded(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.identity.x509.MAX_REMEMBERED", 2)
    for number in range(3):
        assert domains.authenticate(leaf(PROD, f"spiffe://prod/bot-{number}")).id == f"spiffe://prod/bot-{number}"
    assert len(domains.identity._remembered) == 2


# Intermediates from a file


def with_intermediates(domains: Domains, file: Path) -> X509Svids:
    return domains.believing(prod=Intermediates(file))


def test_a_leaf_alone_is_accepted_where_its_intermediate_is_known(domains: Domains, tmp_path: Path) -> None:
    """For proxies that pass on the leaf and nothing else."""
    (tmp_path / "between.pem").write_bytes(MIDDLE.pem)
    assert with_intermediates(domains, tmp_path / "between.pem").authenticate((leaf(MIDDLE, BOT).der,)).id == BOT


def test_a_known_intermediate_is_trusted_for_nothing(domains: Domains, tmp_path: Path) -> None:
    (tmp_path / "between.pem").write_bytes(STRANGER.pem)
    with pytest.raises(InvalidClient):
        with_intermediates(domains, tmp_path / "between.pem").authenticate((leaf(STRANGER, BOT).der,))


def test_known_intermediates_follow_their_file(domains: Domains, tmp_path: Path) -> None:
    file = tmp_path / "between.pem"
    file.write_bytes(PROD.pem)
    identity, chain = with_intermediates(domains, file), (leaf(MIDDLE, BOT).der,)
    for number, content in enumerate((b"", b"not a certificate")):
        file.write_bytes(content)
        os.utime(file, (number, number))
        with pytest.raises(InvalidClient):
            identity.authenticate(chain)
    file.write_bytes(MIDDLE.pem)
    os.utime(file, (9, 9))
    assert identity.authenticate(chain).id == BOT
    file.unlink()
    assert identity.authenticate((leaf(MIDDLE, "spiffe://prod/other").der,)).id == "spiffe://prod/other"


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"], ids=["no file", "an empty file", "another file"])
def test_intermediates_that_cannot_be_read_are_a_problem_of_the_configuration(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "between.pem").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"between\.pem"):
        Intermediates(tmp_path / "between.pem")


def test_before_the_bundle_of_its_domain_is_known_nobody_can_say_who_a_workload_is(domains: Domains) -> None:
    """503, for it may pass; and not 401, after which nobody would try again."""
    domains.prod.bundle = UNKNOWN
    with pytest.raises(Unavailable, match="prod") as error:
        domains.authenticate(leaf(PROD, BOT))
    assert error.value.retry_after > 0
