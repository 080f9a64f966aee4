"""What a `redis_url` may name."""

import pytest

from broker.errors import ConfigurationError
from broker.store import address


def test_one_server_is_named_by_its_url() -> None:
    assert address.parse("redis://127.0.0.1:1/2").kind == "server"
    assert address.parse("unix:///run/redis.sock").url == "unix:///run/redis.sock"


def test_sentinels_are_named_with_their_service_and_database() -> None:
    named = address.parse("rediss+sentinel://me:pass%20word@a:1,b,[::1]:3/store/2?sentinel_password=theirs&client_name=x")
    assert (named.kind, named.service, named.tls) == ("sentinel", "store", True)
    assert named.nodes == (("a", 1), ("b", 26379), ("::1", 3))
    assert (named.options["username"], named.options["password"], named.options["db"]) == ("me", "pass word", 2)
    assert (named.options["client_name"], named.sentinel_options) == ("x", {"password": "theirs"})


def test_without_a_database_it_is_the_first() -> None:
    assert address.parse("redis+sentinel://a/store").options == {"db": 0}


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    named = address.parse("redis+cluster://:secret@a:1,b:2")
    assert (named.kind, named.nodes, named.tls) == ("cluster", (("a", 1), ("b", 2)), False)
    assert named.options["password"] == "secret"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "redis://me:s3cret@a:1,b:2/0",
        "redis+sentinel://me:s3cret@a:1",
        "redis+sentinel://me:s3cret@a:1/store/0/more",
        "redis+sentinel://me:s3cret@a:b/store",
        "redis+sentinel://me:s3cret@a:1/store/one",
        "redis+cluster://me:s3cret@a:1/2",
        "redis+cluster://me:s3cret@a:1,,b:2",
    ],
)
def test_a_url_that_names_nothing_is_refused_without_a_word_of_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        address.parse(url)
    assert "s3cret" not in str(refused.value)
