from broker.cli import refusals
from broker.client import Refused


def test_whoever_lacks_a_proof_is_told_which_option_makes_one(capsys):
    refused = Refused("policy refuses it", code="access_denied", status=400, reason="proof_required")
    assert refusals.report(refused) == refusals.REFUSED
    assert "--dpop-key" in capsys.readouterr().err


def test_whom_a_proof_would_not_help_is_not_told_to_bring_one(capsys):
    refusals.report(Refused("policy refuses it", code="access_denied", status=400, reason="forbidden"))
    assert "--dpop-key" not in capsys.readouterr().err
