import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopes import strict_json
from scopes.claims import Claims
from scopes.errors import InvalidDocument
from tests.scopes.tokens import members


class Small(msgspec.Struct, omit_defaults=True):
    number: int
    flag: bool = False
    text: str = ""
    anything: Any = None


def decoded(text: str) -> Small:
    return strict_json.decode(text.encode(), type=Small, max_bytes=10_000)


def refused(text: str, type: type = Small) -> bool:
    try:
        strict_json.decode(text.encode(), type=type, max_bytes=10_000)
    except InvalidDocument:
        return True
    return False


@pytest.mark.parametrize("number", ["true", "1.0", "1e3", '"1"', "null", "[1]", "NaN", "Infinity", "01", "+1", "0x1", ""])
def test_nothing_is_converted_to_a_number(number):
    """`True == 1`, and "5" is not 5 (TRAPS 4)."""
    assert refused(f'{{"number":{number}}}')


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "1", "null", '{"number":1', '{"number":1}{}', '{"number":1} x', "{number:1}", "\ufeff{}"]
)
def test_what_is_not_one_whole_document_of_the_type_is_refused(text):
    assert refused(text)


@pytest.mark.parametrize(
    "data", [b'{"number":1,"text":"\xff"}', b'{"number":1,"other":"\xff"}', b'{"number":1,"text":"\\ud800"}']
)
def test_text_that_is_not_unicode_is_refused(data):
    with pytest.raises(InvalidDocument):
        strict_json.decode(data, type=Small, max_bytes=100)


def test_a_document_may_be_as_large_as_its_bound_and_not_larger():
    text = b'{"number":1}'
    assert strict_json.decode(text, type=Small, max_bytes=len(text)) == Small(1)
    with pytest.raises(InvalidDocument, match="larger"):
        strict_json.decode(text, type=Small, max_bytes=len(text) - 1)


def test_a_number_of_thousands_of_digits_is_refused():
    """Reading it would take the square of its length (CVE-2020-10735)."""
    assert refused('{"number":' + "9" * 6_000 + "}")


@pytest.mark.parametrize(
    "text",
    ['{"number":1,"other":' + "[" * 4_000 + "]" * 4_000 + "}", '{"number":1,"anything":' + '{"a":' * 1_500 + "1" + "}" * 1_501],
)
def test_nesting_too_deep_is_refused(text):
    assert refused(text)


def test_space_and_another_order_change_nothing():
    assert decoded(' { "text" : "a" ,\n"number" : 1 } ') == Small(1, text="a")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"number":1,"number":2}', id="another value"),
        pytest.param('{"number":1,"number":1}', id="the same value"),
        pytest.param('{"number":1,"flag":false,"flag":false}', id="the default, which is not written again"),
        pytest.param('{"number":1,"flag":true,"flag":false}', id="the default last, which hides the first"),
        pytest.param('{"number":1,"\\u006eumber":2}', id="spelled with an escape"),
        pytest.param('{"number":1,"other":{"a":1,"a":2}}', id="in what is skipped"),
        pytest.param('{"number":1,"anything":[[{"a":1,"a":1}]]}', id="deep inside"),
        pytest.param('{"number":1,"anything":{"n":1,"n":1e6}}', id="beside a number that is written longer than it came"),
    ],
)
def test_a_member_twice_is_refused(text):
    """Parsers disagree about which one counts (RFC 8725 §2.4, TRAPS 2)."""
    assert refused(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | st.text('aé"\\\n', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def _written(value: object, again: Callable[[], bool]) -> str:
    """Write JSON; `again` says for each object whether its first member is to be written twice."""
    if isinstance(value, list):
        return "[" + ",".join(_written(item, again) for item in value) + "]"
    if not isinstance(value, dict):
        return f"{value:.0e}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    pairs = [f"{json.dumps(name)}:{_written(item, again)}" for name, item in value.items()]
    return "{" + ",".join(pairs + (pairs[:1] if pairs and again() else [])) + "}"


@given(json_values, st.data())
def test_a_member_twice_is_refused_at_any_depth(value, data):
    """However the rest is written, and whatever the encoder would make of it."""
    drawn: list[bool] = []

    def again() -> bool:
        drawn.append(data.draw(st.booleans()))
        return drawn[-1]

    assert refused(_written({"number": 1, "anything": value}, again)) == any(drawn)


@given(st.data())
def test_a_claim_twice_is_refused_wherever_it_stands(data):
    """Members that equal their defaults are not written again by an encoder, and are refused all the same."""
    claims = members(now=1_000, act={"sub": "spiffe://x/y"}, lease={"user": False, "single_use": False})
    within = data.draw(st.sampled_from([None, "lease", "act"]))
    spelled = {name: json.dumps(value) for name, value in (claims if within is None else claims[within]).items()}
    name = data.draw(st.sampled_from(sorted(spelled)))
    inner = "{" + ",".join(f'"{member}":{value}' for member, value in spelled.items()) + f',"{name}":{spelled[name]}}}'
    text = inner if within is None else json.dumps(claims | {within: "HERE"}).replace('"HERE"', inner)
    assert refused(text, Claims)


@given(st.binary(max_size=60) | st.text('{}[]":,\\utfn1e.- ', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(data):
    try:
        strict_json.decode(data, type=dict[str, Any], max_bytes=100)
    except InvalidDocument:
        return
    assert json.loads(data) is not None
