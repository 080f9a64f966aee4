"""Golden and hostile tokens, which stand as data in `tests/vectors/tokens.json`, against a whole verifier."""

from collections.abc import Iterator

import pytest

from scopes import VerificationError, Verifier
from tests.scopes import vectors
from tests.scopes.clocks import MovableClock, eventually
from tests.scopes.issuer import EVENT_STREAM, FEED_KEYS, JWKS, STREAM, Answer, Issuer

VECTORS = vectors.read("tokens.json")


@pytest.fixture(scope="module")
def at_the_vectors() -> Iterator[Verifier]:
    """A verifier at the issuer and the moment of the vectors, which a proxy brings to loopback."""
    clock = MovableClock(wall=VECTORS["now"])
    issuer = Issuer(clock, name=VECTORS["issuer"])
    body = vectors.as_json
    issuer.answers = {
        JWKS: Answer(200, body(VECTORS["jwks"])),
        FEED_KEYS: Answer(200, body(VECTORS["feed_keys"])),
        STREAM: Answer(200, f"event: snapshot\ndata: {VECTORS['snapshot']}\n\n".encode(), EVENT_STREAM),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTP_PROXY", issuer.address)
        with Verifier(VECTORS["issuer"], VECTORS["audience"], clock=clock) as verifier:
            eventually(lambda: verifier.is_ready)
            yield verifier
    issuer.close()


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_every_token_of_the_vectors_is_granted_or_refused_as_they_say(at_the_vectors, case):
    """Each case says what it tries, and names its trap, RFC section or CVE."""
    request = {name: case[name] for name in ("action", "resource", "fields")}
    if case["code"] is not None:
        with pytest.raises(VerificationError) as refusal:
            at_the_vectors.verify(case["token"], **request)
        assert refusal.value.code == case["code"]
        return
    grant = at_the_vectors.verify(case["token"], **request)
    fields = list(grant.fields) if grant.fields is not None else None
    names = ("agent", "workload", "user", "task", "lease")
    assert {name: getattr(grant, name) for name in names} | {"fields": fields} == case["grant"]
