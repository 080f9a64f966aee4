import pytest

from scopes import challenge, presented
from scopes.errors import Denied, Expired, InvalidProof, InvalidToken, ProofRequired, Stale


def test_a_token_comes_with_its_proof():
    assert presented([("Authorization", "DPoP eyJ.t"), ("dpop", "eyJ.p"), ("Accept", "*/*")]) == ("eyJ.t", "eyJ.p")


def test_the_scheme_is_read_in_any_case():
    """RFC 9110 §11.1."""
    assert presented([("authorization", "dpop eyJ.t"), ("DPoP", "eyJ.p")]) == ("eyJ.t", "eyJ.p")
    assert presented([("AUTHORIZATION", "BEARER eyJ.t")]) == ("eyJ.t", None)


def test_beside_a_bearer_token_a_proof_does_not_count():
    """So that a bound token is refused as one without proof (RFC 9449 §7.2)."""
    assert presented([("Authorization", "Bearer eyJ.t"), ("DPoP", "eyJ.p")]) == ("eyJ.t", None)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        pytest.param([], InvalidToken, id="nothing"),
        pytest.param([("DPoP", "eyJ.p")], InvalidToken, id="a proof without a token"),
        pytest.param(
            [("Authorization", "Bearer a"), ("Authorization", "Bearer b")], InvalidToken, id="two tokens (RFC 6750 §2)"
        ),
        pytest.param([("Authorization", "Basic a")], InvalidToken, id="another scheme"),
        pytest.param([("Authorization", "eyJ.t")], InvalidToken, id="no scheme"),
        pytest.param([("Authorization", "DPoP eyJ.t")], InvalidProof, id="no proof"),
        pytest.param(
            [("Authorization", "DPoP eyJ.t"), ("DPoP", "eyJ.p"), ("dpop", "eyJ.q")], InvalidProof, id="two proofs (§4.3 (1))"
        ),
    ],
)
def test_what_is_not_one_token_with_its_proof_is_refused(fields, error):
    with pytest.raises(error):
        presented(fields)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (ProofRequired(""), "invalid_token"),
        (Expired(""), "invalid_token"),
        (InvalidProof(""), "invalid_dpop_proof"),
        (Denied(""), "insufficient_scope"),
    ],
    ids=lambda value: getattr(value, "code", value),
)
def test_a_refusal_says_how_to_do_better(refusal, error):
    """RFC 6750 §3.1, RFC 9449 §7.1."""
    expected = f'DPoP error="{error}", algs="ES256 ES384 EdDSA PS256 RS256"'
    assert challenge(refusal) == {"WWW-Authenticate": expected}


def test_nothing_is_asked_for_where_the_service_cannot_tell():
    assert challenge(Stale("")) == {}
