"""`broker revoke --wait`, `broker feed status`: what is said of verifiers; nothing is confirmed that is not (TRAPS 19)."""

import signal
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import typer

from broker.cli import feed, output, waiting
from broker.client import NotFound, Refused, Unreachable
from broker.client.answers import AffectedVerifier, RevocationRecord, Revoked, VerifierRecord
from scopes import Verifier
from tests.broker.cli.served import Served
from tests.broker.cli.typed import Ran, Terminal, run, start
from tests.scopes.clocks import eventually

AUDIENCE = "https://crm.example.com"
WHY = ("--reason", "a drill")
REVOKED = Revoked(id="evt_1", epoch="e", seq=1, matched=0)
ENFORCED = AffectedVerifier(
    service="crm", audience=AUDIENCE, state="enforced", workload="spiffe://x/crm", process="one", version="1", delay_ms=12
)
LATER = msgspec.structs.replace(ENFORCED, process="later", delay_ms=None)
FENCED = msgspec.structs.replace(ENFORCED, process="two", state="fenced", delay_ms=None)
OPEN = msgspec.structs.replace(FENCED, process="three", state="open", fenced_at=1_795_318_537_000)
UNFENCED = msgspec.structs.replace(OPEN, fenced_at=None)
NOBODY = AffectedVerifier(service="crm", audience=AUDIENCE, state="open")


class Asked:
    """A broker's client that answers, or raises, one thing after the other, and the last again and again."""

    def __init__(self, *answers: tuple[AffectedVerifier, ...] | BaseException) -> None:
        self.answers = list(answers)

    def revocation(self, id: str) -> RevocationRecord:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return RevocationRecord(id=id, epoch="e", seq=1, kind="agent", value="bot", committed=1, verifiers=answer)


@pytest.fixture
def waited(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def wait(*answers: Any, seconds: float = 0.0, as_json: bool = False) -> Ran:
        monkeypatch.setattr(waiting, "_POLL", 0.001)
        code = 0
        try:
            with waiting.in_force(REVOKED, as_json=as_json):
                waiting.wait(Asked(*answers), REVOKED, seconds, as_json=as_json)  # type: ignore[arg-type]
        except typer.Exit as ended:
            code = ended.exit_code
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return wait


def test_each_process_has_a_line_and_all_enforced_or_fenced_is_confirmed(waited):
    done = waited((ENFORCED, LATER, FENCED))
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()[1:]]
    assert [line[:3] for line in lines] == [
        ["crm", "spiffe://x/crm/one", "enforced"],
        ["crm", "spiffe://x/crm/later", "enforced"],
        ["crm", "spiffe://x/crm/two", "fenced"],
    ]
    assert lines[0][3:] == ["after", "12", "ms"]
    assert lines[1][3:] == []


@pytest.mark.parametrize(("verifier", "until"), [(OPEN, "until it acknowledges, or "), (UNFENCED, "until it acknowledges\n")])
def test_one_that_is_open_at_the_end_is_not_confirmed(waited, verifier, until):
    done = waited((ENFORCED, verifier))
    assert done.code == 4
    assert until in done.out
    assert "1 of 2 may still honour what it ended" in done.err


def test_it_is_asked_until_none_is_open(waited):
    done = waited((OPEN, OPEN), (ENFORCED, OPEN), (ENFORCED, ENFORCED), seconds=30)
    assert (done.code, done.err) == (0, "")


def test_nobody_known_is_not_confirmed_and_said(waited):
    """Revoked is not reported as done where nobody was listening."""
    done = waited((NOBODY,))
    assert done.code == 4
    assert "any that is not known" in done.out
    assert "Not every verifier process of crm is known" in done.err


def test_what_concerns_no_service_is_confirmed(waited):
    done = waited(())
    assert (done.code, done.out) == (0, "")
    assert "concerns no service" in done.err


@pytest.mark.parametrize("error", [NotFound("no revocation is followed"), Refused("may not watch")])
def test_what_cannot_be_told_is_not_confirmed(waited, error):
    done = waited(error, (ENFORCED,), seconds=30)
    assert (done.code, done.out) == (4, "")
    assert "The revocation is in force" in done.err
    assert str(error) in done.err


def test_a_broker_that_goes_away_meanwhile_is_asked_again(waited):
    assert waited((OPEN,), Unreachable("no answer"), (ENFORCED,), seconds=30).code == 0
    done = waited((ENFORCED, OPEN), Unreachable("no answer"), seconds=0.01)
    assert done.code == 4
    assert "spiffe://x/crm/one" in done.out
    assert "no answer" in done.err


def test_what_is_enforced_does_not_count_while_the_broker_cannot_be_asked(waited):
    assert waited((OPEN,), Unreachable("no answer"), seconds=0.01).code == 4


@pytest.mark.parametrize(("answer", "confirmed"), [((ENFORCED,), True), ((ENFORCED, NOBODY), False)])
def test_a_program_gets_one_document_with_every_verifier(waited, answer, confirmed):
    done = waited(answer, as_json=True)
    assert (done.code, done.document["id"], done.document["confirmed"]) == (0 if confirmed else 4, "evt_1", confirmed)
    assert done.document["verifiers"] == [msgspec.to_builtins(one) for one in answer]


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_ends_the_waiting_and_not_the_revocation(waited, as_json):
    done = waited(KeyboardInterrupt(), seconds=30, as_json=as_json)
    assert (done.code, done.err) == (130, "evt_1 is in force; only the waiting was broken off.\n")
    assert not as_json or done.document["seq"] == 1


def test_whoever_looks_sees_how_far_it_is(waited, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(output.sys, "stderr", Terminal())
    shown = []
    monkeypatch.setattr(output.typer, "echo", lambda text, **how: shown.append(text))
    waited((ENFORCED, OPEN), (ENFORCED, ENFORCED), seconds=30)
    assert shown[0] == "\r\x1b[K1 of 2 verifier processes may still honour it …"
    assert "\r\x1b[K" in shown


@pytest.mark.parametrize(
    ("changes", "behind", "age"),
    [
        ({"lag": 3, "age_ms": 7}, "3", "7 ms"),
        ({"epoch": ""}, "at no place of this log", "–"),
        ({"age_ms": 9}, "in another epoch", "9 ms"),
    ],
)
def test_how_far_behind_is_said_in_words_where_there_is_no_number(changes, behind, age):
    good = {"service": "crm", "audience": AUDIENCE, "workload": "w", "process": "p", "authenticated": True, "version": "1"}
    record = VerifierRecord(**{**good, "epoch": "e", "seq": 0, "heard_ms": 5, **changes})
    assert (feed._lag(record), feed._milliseconds(record.age_ms)) == (behind, age)


# At a real broker


@pytest.fixture
def identity(served: Served) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROKER_ISSUER", served.url)
        return run("development", "identity", "crm", *served.config).out.strip()


@pytest.fixture
def verifier(served: Served, identity: str) -> Iterator[Verifier]:
    """A verifier of the service, which the broker has heard of."""
    with Verifier(served.url, AUDIENCE, lambda: identity) as made:
        made.wait_until_ready(20)
        eventually(lambda: bool(served.operate("feed", "status", "--json").document["verifiers"]))
        yield made


def test_nobody_is_connected(served):
    done = served.operate("feed", "status")
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("No verifier is known.\n")


def test_a_revocation_without_any_verifier_is_in_force_and_not_confirmed(served):
    done = served.operate("revoke", "--agent", "nobody", *WHY, "--wait", "0")
    assert done.code == 4
    assert done.out.startswith("Revoked: ")
    assert "crm" in done.out


def test_a_connected_verifier_enforces_and_is_shown_with_its_delay(served, verifier):
    done = served.operate("revoke", "--agent", "support-bot", *WHY, "--wait", "20")
    assert done.code == 0, done.err
    assert "enforced" in done.out
    assert "spiffe://development.test/service/crm/" in done.out
    assert " ms" in done.out


def test_a_program_waits_for_one_document(served, verifier):
    done = served.operate("revoke", "--agent", "support-bot", *WHY, "--wait", "20", "--json")
    assert (done.code, done.err) == (0, "")
    (one,) = done.document["verifiers"]
    assert (one["state"], one["service"], done.document["confirmed"]) == ("enforced", "crm", True)
    assert one["delay_ms"] >= 0


def test_every_verifier_is_shown_with_its_version_and_how_far_it_is_behind(served, verifier):
    (one,) = served.operate("feed", "status", "--json").document["verifiers"]
    assert (one["service"], one["authenticated"]) == ("crm", True)
    done = served.operate("feed", "status")
    assert (done.code, done.err.startswith("The log is at number ")) == (0, True)
    assert one["process"] in done.out
    assert one["version"] in done.out
    assert one["enforces"] == ["certificate", "fields", "max_uses", "proof", "single_use"]
    assert " ".join(one["enforces"]) in done.out


def test_a_verifier_that_closes_is_not_shown_any_more(served, verifier):
    verifier.close()
    assert served.operate("feed", "status", "--json").document["verifiers"] == []


def test_ctrl_c_while_waiting_leaves_it_in_force(served):
    who = ("--broker", served.url, "--operator-key", str(served.key))
    process = start(["revoke", "--agent", "nobody", *WHY, "--wait", "60", *who])
    assert process.stdout.readline().startswith("Revoked: ")
    id = process.stderr.readline().partition(",")[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, f"{id} is in force; only the waiting was broken off.\n")


def test_no_time_can_be_negative():
    assert run("revoke", "--agent", "x", *WHY, "--wait", "-1").code == 2
