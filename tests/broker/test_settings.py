"""The broker's settings: read once, typed, and refused as a whole when wrong."""

from pathlib import Path

import pytest

from broker import settings
from broker.errors import ConfigurationError
from broker.settings import Settings

TRUST = '[[trust.spiffe]]\ntrust_domain = "prod.example.com"\nbundle = "bundle.json"\n'
DEVELOPMENT = '[[trust.spiffe]]\ntrust_domain = "development.test"\nbundle = "bundle.json"\n'
TLS = 'tls_certificate = "cert.pem"\ntls_key = "key.pem"\n'


def load(folder: Path, text: str = "", *, trust: str = TRUST, **environment: str) -> Settings:
    (folder / "broker.toml").write_text(text + trust)
    return settings.load(folder / "broker.toml", environment=environment)


def problems_of(folder: Path, text: str = "", *, trust: str = TRUST, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load(folder, text, trust=trust, **environment)
    return [problem.removeprefix(f"{folder / 'broker.toml'}: ") for problem in refused.value.problems]


def test_what_is_left_out_has_the_defaults_of_a_broker_on_loopback_that_keeps_nothing(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert (loaded.issuer, loaded.listen) == ("http://127.0.0.1:8750", "127.0.0.1:8750")
    assert loaded.embedded
    assert loaded.max_ttl == 900


def test_paths_are_seen_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(tmp_path).path("keys") == tmp_path / "keys"
    assert load(tmp_path).path("/etc/keys") == Path("/etc/keys")


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('issuer = "http://localhost:1"\n' + TRUST)
    assert settings.load(environment={"BROKER_CONFIG": str(tmp_path / "other.toml")}).issuer == "http://localhost:1"


def test_a_value_of_the_environment_goes_before_the_files(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, "max_ttl = 100\n", BROKER_REDIS_URL="redis://127.0.0.1/1", BROKER_MAX_TTL="60", BROKER_REPLICAS_REQUIRED="2"
    )
    assert (loaded.redis_url, loaded.max_ttl, loaded.replicas_required) == ("redis://127.0.0.1/1", 60, 2)


@pytest.mark.parametrize("variable", ["BROKER_FOLDER", "BROKER_TRUST", "BROKER_CONFIG"])
def test_where_the_file_is_and_whom_it_trusts_is_not_for_the_environment(tmp_path: Path, variable: str) -> None:
    loaded = load(tmp_path, **{variable: "/elsewhere"})
    assert loaded.folder == str(tmp_path)
    assert [source.trust_domain for source in loaded.trust.spiffe] == ["prod.example.com"]


def test_the_folder_is_not_to_be_configured(tmp_path: Path) -> None:
    """It would be overwritten by the file's own, silently."""
    (found,) = problems_of(tmp_path, 'folder = "/elsewhere"\n')
    assert "unknown key 'folder'" in found


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="broker init DIR"):
        settings.load(tmp_path / "broker.toml", environment={})


@pytest.mark.parametrize(
    ("text", "trust", "problem"),
    [
        ('isuer = "x"\n', TRUST, ": unknown key 'isuer' (did you mean 'issuer'?)"),
        ("", TRUST.replace("bundle", "bundel"), ".trust.spiffe: unknown key 'bundel' (did you mean 'bundle'?)"),
        ("", TRUST.replace("spiffe", "spife"), ".trust: unknown key 'spife' (did you mean 'spiffe'?)"),
    ],
    ids=["at the top", "in a list", "in a table"],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, text: str, trust: str, problem: str) -> None:
    """`WIRE.md`, "Configuration"."""
    (tmp_path / "broker.toml").write_text(text + trust)
    with pytest.raises(ConfigurationError) as refused:
        settings.load(tmp_path / "broker.toml", environment={})
    assert refused.value.problems == [f"{tmp_path / 'broker.toml'}{problem}"]


@pytest.mark.parametrize(
    "issuer",
    [
        "https://broker.example.com",
        "https://broker.example.com:8443",
        "https://[2001:db8::1]:8443",
        "http://127.0.0.1:8750",
        "http://127.8.9.1",
        "http://[::1]:8750",
        "http://localhost:8750",
    ],
)
def test_an_issuer_is_https_or_on_loopback(tmp_path: Path, issuer: str) -> None:
    assert load(tmp_path, f'issuer = "{issuer}"\n').issuer == issuer


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ("https://broker.example.com/", "without path and trailing slash"),
        ("https://broker.example.com/tenant", "without path and trailing slash"),
        ("https://broker.example.com?x=1", "without path and trailing slash"),
        ("https://broker.example.com?", "without path and trailing slash"),
        ("https://broker.example.com#x", "without path and trailing slash"),
        ("https://user@broker.example.com", "without path and trailing slash"),
        ("https://Broker.example.com", "without path and trailing slash"),
        ("HTTPS://broker.example.com", "without path and trailing slash"),
        ("https://[::1", "without path and trailing slash"),
        ("https://", "without path and trailing slash"),
        ("broker.example.com", "without path and trailing slash"),
        ("ftp://broker.example.com", "without path and trailing slash"),
        ("http://broker.example.com", "plain http is for loopback only"),
        ("http://127.0.0.1.example.com", "plain http is for loopback only"),
        ("http://localhost.example.com", "plain http is for loopback only"),
        ("http://10.0.0.1", "plain http is for loopback only"),
    ],
)
def test_any_other_issuer_is_refused(tmp_path: Path, issuer: str, problem: str) -> None:
    """It is compared as text by everybody who verifies, so it has exactly one spelling."""
    (found,) = problems_of(tmp_path, f'issuer = "{issuer}"\n')
    assert problem in found


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8750", ("127.0.0.1", 8750)),
        ("[::1]:1", ("::1", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_the_broker_listens_on_loopback_in_the_clear(tmp_path: Path, listen: str, address: tuple[str, int]) -> None:
    assert load(tmp_path, f'listen = "{listen}"\n').address == address


def test_with_a_certificate_the_broker_listens_anywhere(tmp_path: Path) -> None:
    assert load(tmp_path, f'listen = "0.0.0.0:443"\n{TLS}').address == ("0.0.0.0", 443)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('listen = "0.0.0.0:8750"\n', "plain http is for loopback only; set tls_certificate"),
        ('listen = "[::]:8750"\n', "plain http is for loopback only; set tls_certificate"),
        ('listen = "8750"\n', "has to be HOST:PORT"),
        ('listen = ":8750"\n', "has to be HOST:PORT"),
        ('listen = "127.0.0.1:"\n', "has to be HOST:PORT"),
        ('listen = "127.0.0.1:65536"\n', "has to be HOST:PORT"),
        ('listen = "127.0.0.1:x"\n', "has to be HOST:PORT"),
        ('listen = "::1:8750"\n', "has to be HOST:PORT"),
        ('tls_certificate = "cert.pem"\n', "tls_certificate and tls_key go together"),
        ('tls_key = "key.pem"\n', "tls_certificate and tls_key go together"),
        ("replicas_required = -1\n", "replicas_required"),
        ("replicas_required = 1\n", "replicas_required"),
        ("max_ttl = 0\n", "max_ttl"),
        ("max_ttl = 3601\n", "max_ttl"),
        ("max_ttl = true\n", "max_ttl"),
        ('max_ttl = "60"\n', "max_ttl"),
        ('feed_access = "everybody"\n', "feed_access"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, text)
    assert problem in found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('mtls_listen = "127.0.0.1:8443"\n', "mtls_listen: needs tls_certificate and tls_key"),
        (TLS + 'mtls_listen = "8443"\n', "mtls_listen: has to be HOST:PORT"),
        (TLS + 'mtls_listen = "127.0.0.1:99999"\n', "mtls_listen: has to be HOST:PORT"),
        (TLS + 'mtls_listen = "127.0.0.1:8750"\n', "mtls_listen: is where listen is; it needs a port of its own"),
    ],
)
def test_mutual_tls_that_cannot_be_served_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert problems_of(tmp_path, text) == [problem]


def test_mutual_tls_is_reached_at_the_host_of_the_issuer(tmp_path: Path) -> None:
    loaded = load(tmp_path, TLS + 'issuer = "https://broker.example.com:444"\nmtls_listen = "[::1]:8443"\n')
    assert (loaded.mtls_address, loaded.mtls_url) == (("::1", 8443), "https://broker.example.com:8443")
    assert (load(tmp_path).mtls_address, load(tmp_path).mtls_url) == (None, None)


def proxy(addresses: str, header: str = "ssl-client-cert") -> str:
    return f'[[trust.proxy]]\naddresses = {addresses}\nheader = "{header}"\n'


def test_proxies_are_named_with_their_addresses_and_their_header(tmp_path: Path) -> None:
    found = proxy('["10.0.0.7", "2001:db8::/32"]') + proxy('["10.0.0.8"]', "x-forwarded-client-cert")
    one, other = load(tmp_path, trust=TRUST + found).proxies
    assert (one.header, one.trusts("10.0.0.7"), one.trusts("10.0.0.8")) == ("ssl-client-cert", True, False)
    assert (other.header, other.trusts("10.0.0.8")) == ("x-forwarded-client-cert", True)
    assert load(tmp_path).proxies == ()


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (proxy("[]"), "names no address"),
        (proxy('["0.0.0.0/0"]'), "is everybody"),
        (proxy('["proxy.internal"]'), "neither an address nor a network"),
        (proxy('["10.0.0.7"]', "Ssl Client Cert"), "not the name of a header"),
        (proxy('["10.0.0.7"]') + proxy('["10.0.0.0/8"]', "x-forwarded-client-cert"), "names an address twice"),
    ],
)
def test_a_proxy_that_could_be_anybody_is_refused(tmp_path: Path, found: str, problem: str) -> None:
    (refused,) = problems_of(tmp_path, trust=TRUST + found)
    assert refused.startswith("trust.proxy: ")
    assert problem in refused


@pytest.mark.parametrize("value", ["0", "3601", "-1", "sixty", ""])
def test_a_life_out_of_range_is_refused_from_the_environment_too(tmp_path: Path, value: str) -> None:
    (found,) = problems_of(tmp_path, BROKER_MAX_TTL=value)
    assert "max_ttl" in found


def test_a_broker_that_trusts_nobody_is_refused(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, trust="")
    assert "nobody could prove who they are" in found


def test_a_trust_domain_twice_is_refused(tmp_path: Path) -> None:
    """Otherwise the last bundle would silently be the only one (TRAPS 9)."""
    (found,) = problems_of(tmp_path, trust=TRUST + TRUST.replace("bundle.json", "other.json"))
    assert "names a trust domain twice" in found


ENDPOINT = 'bundle_endpoint = "https://bundles.example.com/"\n'
SPIFFE_ID = 'endpoint_spiffe_id = "spiffe://prod.example.com/spire/server"\n'
WORKLOAD_API = 'workload_api = "unix:///run/spire/agent.sock"\n'
FILE = 'bundle = "bundle.json"\n'


def of_domain(*lines: str, name: str = "prod.example.com") -> str:
    return f'[[trust.spiffe]]\ntrust_domain = "{name}"\n' + "".join(lines)


@pytest.mark.parametrize(
    "lines",
    [
        [FILE],
        [ENDPOINT],
        [ENDPOINT, "allow_private_addresses = true\n"],
        [ENDPOINT, SPIFFE_ID, FILE],
        [WORKLOAD_API],
    ],
    ids=["a file", "an endpoint", "one in a private network", "an endpoint with an id", "the Workload API"],
)
def test_a_bundle_comes_from_one_place(tmp_path: Path, lines: list[str]) -> None:
    other = of_domain(FILE, name="other.example.com")
    assert len(load(tmp_path, trust=of_domain(*lines) + other).trust.spiffe) == 2


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        pytest.param([], "needs exactly one of bundle, bundle_endpoint and workload_api", id="no place"),
        pytest.param([FILE, ENDPOINT], "needs exactly one of", id="a file and an endpoint"),
        pytest.param([FILE, WORKLOAD_API], "needs exactly one of", id="a file and the Workload API"),
        pytest.param([ENDPOINT, WORKLOAD_API], "needs exactly one of", id="an endpoint and the Workload API"),
        pytest.param([ENDPOINT, SPIFFE_ID], "to believe it the first time", id="an id without a bundle"),
        pytest.param([ENDPOINT, SPIFFE_ID.replace("prod", "x"), FILE], "of prod.example.com", id="an id of another domain"),
        pytest.param(
            [ENDPOINT, SPIFFE_ID.replace("/spire/server", ""), FILE], "of prod.example.com", id="an id without a path"
        ),
        pytest.param([WORKLOAD_API, SPIFFE_ID, FILE], "goes with a bundle_endpoint", id="an id for the Workload API"),
        pytest.param([FILE, "allow_private_addresses = true\n"], "is for a bundle_endpoint", id="a private network of a file"),
    ],
)
def test_a_bundle_that_comes_from_nowhere_or_from_several_places_is_refused(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    (found,) = problems_of(tmp_path, trust=of_domain(*lines))
    assert found.startswith("trust.spiffe (prod.example.com): ")
    assert problem in found


@pytest.mark.parametrize("name", ["", "PROD", "spiffe://prod", "prod/x", "prod:1", "prod ", "x" * 256])
def test_what_is_no_name_of_a_trust_domain_is_refused(tmp_path: Path, name: str) -> None:
    (found,) = problems_of(tmp_path, trust=of_domain(FILE, name=name))
    assert "not the name of a trust domain" in found


@pytest.mark.parametrize(
    "text",
    [
        'issuer = "https://broker.example.com"\n',
        f'listen = "0.0.0.0:443"\n{TLS}',
        f'issuer = "https://broker.example.com"\nlisten = "0.0.0.0:443"\n{TLS}',
        f'mtls_listen = "0.0.0.0:8443"\n{TLS}',
    ],
    ids=["a public issuer", "a public address", "both", "a public address for mutual TLS"],
)
def test_the_development_domain_is_refused_beside_production_settings(tmp_path: Path, text: str) -> None:
    """Whoever can read its key folder can be any workload (`STYLE.md` 6)."""
    (found,) = problems_of(tmp_path, text, trust=TRUST + DEVELOPMENT)
    assert "development.test is for development" in found


def test_the_development_domain_is_taken_on_loopback(tmp_path: Path) -> None:
    assert load(tmp_path, trust=DEVELOPMENT).trust.spiffe[0].trust_domain == "development.test"


def test_several_problems_are_named_at_once(tmp_path: Path) -> None:
    text = 'issuer = "http://broker.example.com"\nlisten = "0.0.0.0:80"\ntls_key = "key.pem"\n'
    assert len(problems_of(tmp_path, text, trust="")) == 4


@pytest.mark.parametrize(
    ("text", "anyone"),
    [
        ("", True),
        ('redis_url = "redis://127.0.0.1"\n', False),
        ('feed_access = "workloads"\n', False),
        ('redis_url = "redis://127.0.0.1"\nfeed_access = "anyone"\n', True),
    ],
    ids=["embedded", "with a store", "embedded and closed", "with a store and open"],
)
def test_the_feed_is_anonymous_only_where_it_is_said_or_nothing_is_kept(tmp_path: Path, text: str, anyone: bool) -> None:
    assert load(tmp_path, text).anyone_follows is anyone


@pytest.mark.parametrize("seconds", [0, 900, 2_592_000])
def test_keys_live_for_ever_or_longer_than_it_takes_to_publish_the_next(tmp_path: Path, seconds: int) -> None:
    assert load(tmp_path, BROKER_KEY_LIFETIME=str(seconds)).key_lifetime == seconds


@pytest.mark.parametrize("seconds", [1, 899])
def test_a_key_that_would_end_before_the_next_is_known_is_refused(tmp_path: Path, seconds: int) -> None:
    assert "key_lifetime: at least 900 seconds" in problems_of(tmp_path, f"key_lifetime = {seconds}\n")[0]


def test_the_passphrase_of_the_keys_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("from the file\n")
    filed = load(tmp_path, 'key_passphrase_file = "passphrase"\n')
    assert settings.key_passphrase(load(tmp_path), environment={}) is None
    assert settings.key_passphrase(filed, environment={}) == b"from the file"
    assert settings.key_passphrase(filed, environment={"BROKER_KEY_PASSPHRASE": "given"}) == b"given"


@pytest.mark.parametrize("content", ["", "\n", None])
def test_an_empty_or_missing_passphrase_is_refused(tmp_path: Path, content: str | None) -> None:
    """Who wants one and has none would believe that the keys are under it."""
    if content is not None:
        (tmp_path / "passphrase").write_text(content)
    with pytest.raises(ConfigurationError, match="passphrase"):
        settings.key_passphrase(load(tmp_path, 'key_passphrase_file = "passphrase"\n'), environment={})
