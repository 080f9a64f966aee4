"""Which texts name a workload (SPIFFE-ID §2)."""

import pytest

from broker.spiffe_id import is_spiffe_id, is_trust_domain, trust_domain


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("spiffe://prod.example.com/ns/support/sa/bot", "prod.example.com"),
        ("spiffe://prod/bot", "prod"),
        ("spiffe://a_b-c.9/Bot_1.2-3", "a_b-c.9"),
        ("spiffe://prod/a/.../b", "prod"),
        ("spiffe://prod/.hidden", "prod"),
    ],
)
def test_a_workload_is_named_by_its_trust_domain_and_a_path(text: str, domain: str) -> None:
    assert trust_domain(text) == domain
    assert is_spiffe_id(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("spiffe://prod", id="a trust domain alone"),
        pytest.param("spiffe://prod/", id="an empty path"),
        pytest.param("spiffe:///bot", id="no trust domain"),
        pytest.param("spiffe://Prod.example.com/bot", id="an upper-case trust domain"),
        pytest.param("SPIFFE://prod/bot", id="an upper-case scheme"),
        pytest.param("https://prod/bot", id="another scheme"),
        pytest.param("spiffe://prod:443/bot", id="a port"),
        pytest.param("spiffe://user@prod/bot", id="a user"),
        pytest.param("spiffe://prod/bot?admin=1", id="a query"),
        pytest.param("spiffe://prod/bot#part", id="a fragment"),
        pytest.param("spiffe://prod/./bot", id="a dot segment"),
        pytest.param("spiffe://prod/ns/../bot", id="a dot-dot segment"),
        pytest.param("spiffe://prod/bot/..", id="a dot-dot segment at the end"),
        pytest.param("spiffe://prod//bot", id="an empty segment"),
        pytest.param("spiffe://prod/bot/", id="a trailing slash"),
        pytest.param("spiffe://prod/b%6ft", id="a percent escape"),
        pytest.param("spiffe://prod/b\u043et", id="a letter that looks like another"),
        pytest.param("spiffe://prod/bot\n", id="a newline at the end"),
        pytest.param(" spiffe://prod/bot", id="a space before"),
        pytest.param("spiffe://prod/*", id="a pattern"),
        pytest.param(f"spiffe://prod/{'a' * 2036}", id="one byte too long"),
        pytest.param(f"spiffe://{'a' * 256}/bot", id="a trust domain that is too long"),
    ],
)
def test_anything_else_names_no_workload(text: str) -> None:
    """TRAPS 9 and 16: no normalising, no decoding, whole strings only."""
    assert trust_domain(text) is None
    assert not is_spiffe_id(text)


def test_the_longest_id_has_2048_bytes() -> None:
    assert is_spiffe_id(f"spiffe://prod/{'a' * (2048 - len('spiffe://prod/'))}")


@pytest.mark.parametrize("text", ["prod.example.com", "prod", "a_b-c.9", "x" * 255])
def test_a_trust_domain_is_named_by_itself(text: str) -> None:
    assert is_trust_domain(text)


@pytest.mark.parametrize("text", ["", "PROD", "spiffe://prod", "prod/", "prod:1", "prod\n", "pröd", "x" * 256])
def test_other_texts_name_no_trust_domain(text: str) -> None:
    assert not is_trust_domain(text)
