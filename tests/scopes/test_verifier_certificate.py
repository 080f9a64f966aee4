"""Tokens that are bound to a certificate: honoured over a connection of that certificate, and no other (RFC 8705 §3)."""

import pytest

from scopes import InvalidProof, ProofRequired, client_certificate, proof
from tests.scopes.asking import read
from tests.scopes.certificates import authority, leaf
from tests.scopes.tokens import new_key

ROOT = authority()
OWN, OTHER = (leaf(ROOT, "spiffe://prod/bot") for _ in range(2))
BOUND = {"cnf": {"x5t#S256": client_certificate.thumbprint(OWN.der)}}
KEY = new_key()


def test_the_holder_of_the_certificate_is_granted(verifier, make_token):
    token = make_token(**BOUND)
    assert [read(verifier, token, certificate=OWN.der).lease for _ in range(2)] == ["lse_01"] * 2


async def test_the_holder_of_the_certificate_is_granted_when_waiting_too(verifier, make_token):
    asked = {"action": "read", "resource": "crm:ticket/4711"}
    assert (await verifier.verify_once(make_token(**BOUND), **asked, certificate=OWN.der)).lease == "lse_01"
    with pytest.raises(ProofRequired):
        await verifier.verify_once(make_token(**BOUND), **asked, certificate=OTHER.der)


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(None, id="as a plain bearer token (TRAPS 17)"),
        pytest.param(OTHER.der, id="another certificate of the same workload, and so another key"),
        pytest.param(b"", id="empty"),
        pytest.param(OWN.pem, id="written otherwise"),
        pytest.param(OWN.der + b"\x00", id="with something behind it"),
    ],
)
def test_a_stolen_token_is_refused_without_its_certificate(verifier, make_token, certificate):
    token = make_token(**BOUND)
    read(verifier, token, certificate=OWN.der)
    with pytest.raises(ProofRequired) as refused:
        read(verifier, token, certificate=certificate)
    assert (refused.value.code, refused.value.status) == ("proof_required", 401)


def test_a_token_that_is_bound_to_nothing_may_come_over_any_connection(verifier, make_token):
    assert read(verifier, make_token(), certificate=OWN.der).lease == "lse_01"


def test_a_token_that_is_bound_to_a_key_is_not_honoured_for_a_certificate(verifier, make_token):
    with pytest.raises(ProofRequired):
        read(verifier, make_token(cnf={"jkt": KEY.kid}), certificate=OWN.der)
    with pytest.raises(ProofRequired):
        read(verifier, make_token(cnf={"jkt": client_certificate.thumbprint(OWN.der)}), certificate=OWN.der)


def test_a_token_that_is_bound_to_a_certificate_is_not_honoured_for_a_key(verifier, make_token, clock):
    token, url = make_token(cnf={"x5t#S256": KEY.kid}), "https://crm.example.com/tickets/4711"
    proven = proof.make(KEY, method="GET", url=url, now=clock.now().wall, token=token)
    with pytest.raises(ProofRequired):
        read(verifier, token, proof=proven, method="GET", url=url)
    bound = make_token(**BOUND)
    both = proof.make(KEY, method="GET", url=url, now=clock.now().wall, token=bound)
    with pytest.raises(InvalidProof):
        read(verifier, bound, proof=both, method="GET", url=url, certificate=OWN.der)
