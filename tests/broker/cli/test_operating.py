"""Every command that speaks to a broker, as an operator and an agent use it: a real broker on a real Redis."""

import json
import re
import signal

import httpx2
import pytest

from broker import private_key_file
from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from broker.cli import audit
from broker.client.answers import AuditRecord
from scopes import jose, proof
from scopes.clock import SystemClock
from tests.broker.cli.served import Served
from tests.broker.cli.typed import Terminal, run, start

SUBJECT = "crm:ticket/4711#read[subject]"
AUDIENCE = "https://crm.example.com"
BOT = "spiffe://development.test/agent/support-bot"
TASK, LEASE = re.compile(r"tsk_[0-9A-Z]{26}"), re.compile(r"lse_[0-9A-Z]{26}")


@pytest.fixture
def task(served: Served) -> str:
    """An open task of the agent."""
    return str(served.act("task", "declare", "summarise-ticket", "--json").document["id"])


@pytest.fixture
def lease(served: Served, task: str) -> str:
    """A live lease of that task."""
    return str(served.act("token", "request", SUBJECT, "--task", task, "--json").document["lease_id"])


# Tokens


def test_a_token_alone_is_on_standard_output_so_that_it_can_be_piped(served):
    done = served.act("token", "request", SUBJECT)
    assert done.code == 0
    assert re.fullmatch(r"eyJ[\w-]+\.[\w-]+\.[\w-]+\n", done.out)
    assert SUBJECT in done.err
    assert "eyJ" not in done.err


def test_a_token_can_be_asked_for_with_a_task_declared_in_the_same_call(served):
    asked = ("token", "request", SUBJECT, "--type", "summarise-ticket", "--purpose", "Ticket 4711", "--ttl", "30", "--json")
    document = served.act(*asked).document
    assert document["scope"] == SUBJECT
    assert served.act("task", "show", document["task_id"], "--json").document["purpose"] == "Ticket 4711"


@pytest.mark.parametrize("extra", [("--task", "tsk_1", "--type", "x"), ("--purpose", "x")])
def test_a_task_is_named_or_declared_and_not_both(served, extra):
    assert served.act("token", "request", SUBJECT, *extra).code == 2


def test_a_token_can_be_bound_to_a_key_in_a_file_which_then_makes_its_proofs(served, tmp_path):
    file = tmp_path / "agent.jwk"
    done = served.act("token", "request", SUBJECT, "--dpop-key", str(file))
    token, key = done.out.strip(), private_key_file.read(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"--dpop-key {file}" in done.err
    assert json.loads(run("token", "inspect", token).fields["cnf"]) == {"jkt": key.kid}
    request = {"method": "GET", "url": "https://crm.example.com/tickets/4711"}
    for asked in ((token,), ()):
        proved = run("token", "prove", *request.values(), *asked, "--dpop-key", str(file), entered=token)
        found = proof.check(proved.out.strip(), **request, now=SystemClock().now().wall, token_hash=proof.hash_of(token))
        assert found.thumbprint == key.kid
    assert "proof" in run("token", "prove", *request.values(), token, "--dpop-key", str(file), "--json").document
    again = served.act("token", "request", SUBJECT, "--dpop-key", str(file), "--json").document
    assert again["token_type"] == "DPoP"
    assert private_key_file.read(file).kid == key.kid


def test_without_a_key_a_token_is_a_bearer_token(served):
    assert served.act("token", "request", SUBJECT, "--json").document["token_type"] == "Bearer"


def test_a_proof_needs_a_key_that_is_there_and_nobody_elses(tmp_path):
    file = tmp_path / "agent.jwk"
    asked = ("token", "prove", "GET", "https://crm.example.com/", "eyJ.t", "--dpop-key", str(file))
    assert run(*asked).code == 2
    private_key_file.create(file)
    file.chmod(0o644)
    assert run(*asked).code == 2


def test_a_refused_token_says_why_and_prints_nothing(served):
    done = served.act("token", "request", "crm:ticket/4711#draft[subject]")
    assert (done.code, done.out) == (1, "")
    assert "access_denied" in done.err
    assert "outside_task_type" in done.err


def test_a_scope_that_is_none_is_refused(served):
    done = served.act("token", "request", "crm:ticket/*#read")
    assert done.code == 1
    assert "invalid_scope" in done.err


@pytest.mark.parametrize("arguments", [("task", "declare", "summarise-ticket"), ("token", "request", SUBJECT)])
def test_an_agent_without_an_identity_is_told_how_to_get_one(served, arguments):
    done = run(*arguments, "--broker", served.url)
    assert done.code == 2
    assert "broker development identity" in done.err


def test_an_identity_that_the_broker_does_not_take_is_refused_with_a_hint(served, tmp_path):
    file = tmp_path / "forged.svid"
    file.write_text("eyJhbGciOiJub25lIn0.e30.c2ln")
    done = run("token", "request", SUBJECT, "--broker", served.url, "--identity", str(file))
    assert done.code == 1
    assert "invalid_client" in done.err
    assert "--identity fresh" in done.err
    assert "eyJ" not in done.err


def test_an_inspected_token_is_labelled_as_not_verified(served):
    token = served.act("token", "request", SUBJECT).out
    for done in (run("token", "inspect", "-", entered=token), run("token", "inspect", entered=token)):
        assert done.code == 0
        assert "NOT VERIFIED" in done.err
        assert "support-bot" in done.out
        assert token.strip() not in done.out + done.err


def test_a_token_can_be_verified_with_the_keys_of_its_broker(served):
    token = served.act("token", "request", SUBJECT).out.strip()
    document = run("token", "inspect", token, "--broker", served.url, "--json").document
    assert (document["verified"], document["expired"], document["claims"]["iss"]) == (True, False, served.url)
    assert "not expired" in run("token", "inspect", token, "--broker", served.url).err


def test_a_token_that_was_changed_is_not_of_its_broker(served):
    header, claims, signature = served.act("token", "request", SUBJECT).out.strip().split(".")
    forged = f"{header}.{claims}.{'A' * (len(signature) - 2)}AA"
    done = run("token", "inspect", forged, "--broker", served.url)
    assert (done.code, done.out) == (1, "")
    assert "the signature is wrong" in done.err


def test_an_identity_can_be_looked_into_and_is_no_token_of_the_broker(served):
    svid = served.identity.read_text()
    assert run("token", "inspect", "-", "--json", entered=svid).document["claims"]["aud"] == [served.url]
    assert run("token", "inspect", "-", "--broker", served.url, entered=svid).code == 1


def test_somebody_at_a_terminal_is_asked_to_paste_the_token(served):
    done = run("token", "inspect", entered=Terminal(served.identity.read_text()))
    assert done.err.startswith("Paste the token")
    assert done.fields["sub"] == "spiffe://development.test/agent/support-bot"


def test_a_token_of_another_issuer_is_not_of_this_broker_though_the_key_is_the_same(served):
    other = f'"iss":"{served.url}"', '"iss":"https://other.example.com"'
    payload = jose.read(served.act("token", "request", SUBJECT).out.strip(), types=frozenset({"at+jwt"})).unverified_payload
    key = private_key_file.read(served.folder / "keys" / "token.jwk")
    token = jose.write(payload.decode().replace(*other).encode(), type="at+jwt", key=key)
    done = run("token", "inspect", token, "--broker", served.url)
    assert done.code == 1
    assert "another issuer" in done.err


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "eyJhbGciOiJub25lIn0.W10.c2ln"])
def test_what_is_no_token_is_said_to_be_none(text):
    done = run("token", "inspect", "-", entered=text)
    assert done.code == 1
    assert "not a token" in done.err


# Tasks


def test_a_task_is_declared_shown_listed_and_completed(served):
    declared = served.act(
        "task", "declare", "summarise-ticket", "--purpose", "Look", "--resource", "crm:ticket/1", "--max-duration", "60"
    )
    id = TASK.search(declared.out)[0]
    assert "crm:ticket/1" in declared.out
    assert id in served.operate("task", "list", "--agent", "support-bot").out
    assert served.operate("task", "show", id).fields["status"] == "open"
    assert "completed" in served.act("task", "complete", id).out
    assert id not in [task["id"] for task in served.operate("task", "list", "--json").document["tasks"]]


@pytest.mark.parametrize(("verb", "status"), [("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled")])
def test_agents_and_operators_end_tasks(served, verb, status):
    for ended_by in (served.act, served.operate):
        id = served.act("task", "declare", "summarise-ticket", "--json").document["id"]
        assert ended_by("task", verb, id, "--json").document["status"] == status


def test_a_part_of_a_task_ends_with_it(served, task):
    part = served.act("task", "declare", "summarise-ticket", "--parent", task, "--json").document
    assert part["path"] == [task, part["id"]]
    assert served.operate("task", "show", part["id"]).fields["part of"] == task
    served.act("task", "complete", task)
    assert served.operate("task", "show", part["id"], "--json").document["status"] != "open"


def test_a_task_type_that_the_agent_may_not_run_is_refused(served):
    done = served.act("task", "declare", "sumarise-ticket")
    assert done.code == 1
    assert "did you mean 'summarise-ticket'" in done.err


def test_what_is_not_there_is_not_found(served):
    for arguments in (
        ("task", "show", "tsk_1"),
        ("lease", "show", "lse_1"),
        ("agent", "show", "nobody"),
        ("task", "fail", "a/b"),
    ):
        done = served.operate(*arguments)
        assert (done.code, done.out) == (1, "")
        assert "not_found" in done.err


# Leases and revocation


def test_leases_are_listed_by_what_they_are_of(served, task, lease):
    for chosen in (
        ["--task", task],
        ["--agent", "support-bot"],
        ["--resource", "crm:ticket/4711"],
        ["--instance", BOT],
        ["--status", "live"],
    ):
        listed = served.operate("lease", "list", *chosen, "--json").document["leases"]
        assert lease in [entry["id"] for entry in listed]
    assert lease in served.operate("lease", "list").out
    assert served.operate("lease", "list", "--agent", "nobody").err == "No lease is live.\n"
    assert served.operate("lease", "list", "--status", "lost").code == 2


def test_one_lease_is_shown_without_its_token(served, task, lease):
    done = served.operate("lease", "show", lease)
    assert (done.fields["status"], done.fields["task"]) == ("live", task)
    assert "eyJ" not in done.out
    assert served.operate("lease", "show", lease, "--json").document["scope"] == SUBJECT


def test_one_lease_is_taken_back(served, lease):
    done = served.operate("lease", "revoke", lease, "--reason", "sent to the wrong customer")
    assert done.out == "Revoked: 1 live lease ended.\n"
    assert served.operate("lease", "show", lease, "--json").document["status"] == "revoked"


def test_nothing_is_taken_back_without_a_reason(served, lease):
    assert served.operate("lease", "revoke", lease).code == 2
    assert served.operate("revoke", "--agent", "support-bot").code == 2
    assert served.operate("lease", "show", lease, "--json").document["status"] == "live"


@pytest.mark.parametrize(
    "selector",
    [
        ("--agent", "support-bot"),
        ("--instance", "spiffe://development.test/agent/support-bot"),
        ("--resource", "crm:ticket/4711"),
        ("--service", "crm"),
        ("--owner", "jane@example.com"),
        ("--all",),
    ],
)
def test_everything_that_a_selector_hits_is_taken_back(served, lease, selector):
    done = served.operate("revoke", *selector, "--reason", "test", "--json")
    assert done.code == 0, done.err
    assert done.document["id"].startswith("evt_")
    assert served.operate("lease", "show", lease, "--json").document["status"] == "revoked"


def test_a_task_is_a_selector_too(served, task, lease):
    assert served.operate("revoke", "--task", task, "--reason", "test").out == "Revoked: 1 live lease ended.\n"


@pytest.mark.parametrize("selector", [("--user", "corp:jane"), ("--key", "no-such-key"), ("--agent", "nobody")])
def test_a_selector_that_matches_nothing_known_is_revoked_all_the_same(served, selector):
    """A token that nobody has seen yet must be hit as well (TRAPS 23)."""
    assert served.operate("revoke", *selector, "--reason", "test").out.startswith("Revoked: ")


def test_an_owner_whom_nobody_knows_is_not_found(served):
    assert served.operate("revoke", "--owner", "nobody@example.com", "--reason", "test").code == 1


@pytest.mark.parametrize(
    "selectors",
    [(), ("--agent", "a", "--task", "t"), ("--all", "--agent", "a"), ("--service", "crm", "--resource", "crm:ticket")],
)
def test_exactly_one_selector_is_needed(selectors):
    done = run("revoke", *selectors, "--reason", "test")
    assert done.code == 2


# Agents, audit, keys


def test_agents_are_listed_and_shown(served, lease):
    assert "support-bot" in served.operate("agent", "list").out
    assert served.operate("agent", "list", "--json").document["agents"][0]["status"] == "active"
    assert served.operate("agent", "show", "support-bot").fields["owner"] == "jane@example.com"
    assert served.operate("agent", "show", "support-bot", "--json").document["live_leases"] >= 1


def test_the_last_records_are_printed_oldest_first_and_can_be_gone_on_from(served, lease):
    served.operate("lease", "revoke", lease, "--reason", "with \x1b[2J in it")
    lines = served.operate("audit", "tail", "--lines", "2", "--json").lines
    assert [line["kind"] for line in lines] == ["token.issued", "revocation"]
    since = served.operate("audit", "tail", "--since", lines[0]["cursor"], "--json").lines
    assert since == lines[1:]
    text = served.operate("audit", "tail").out
    assert f"lease:{lease}" in text
    assert "“with \\x1b[2J in it”" in text


def test_audit_of_more_than_a_page_is_read_to_its_end(served, lease):
    assertion = {"client_assertion_type": JWT_SPIFFE, "client_assertion": served.identity.read_text().strip()}
    form = {"grant_type": CLIENT_CREDENTIALS, "scope": "crm:ticket/1#draft[subject]", **assertion}
    with httpx2.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        refused = {client.post("/oauth/token", data=form).json()["error"] for _ in range(101)}
    assert refused == {"access_denied"}
    lines = served.operate("audit", "tail", "--since", "", "--json").lines
    assert len(lines) > 100
    assert len({line["cursor"] for line in lines}) == len(lines)
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_record_without_anybody_in_it_is_printed_too(capsys):
    audit._print(AuditRecord(cursor="1-0.0", time=0, kind="sweep"), as_json=False)
    assert "sweep" in capsys.readouterr().out


def test_the_keys_are_listed_for_an_operator(served):
    who = ("--broker", served.url, "--operator-key", str(served.key))
    keys = run("key", "list", *who, "--json").document["keys"]
    assert sorted(key["use"] for key in keys) == ["feed", "token"]
    assert all(key["kid"] in run("key", "list", *who).out for key in keys)


# Streams


def test_the_audit_goes_on_being_printed_until_ctrl_c(served):
    who = ("--broker", served.url, "--operator-key", str(served.key))
    process = start(["audit", "tail", "--follow", "--json", "--lines", "1", *who])
    process.stdout.readline()
    served.operate("revoke", "--agent", "followed", "--reason", "test")
    assert any("agent:followed" in process.stdout.readline() for _ in range(10))
    assert interrupted(process) == 130


def test_the_feed_is_watched_as_it_happens_until_ctrl_c(served):
    process = start(["feed", "watch", "--audience", AUDIENCE, "--broker", served.url, "--operator-key", str(served.key)])
    assert "of epoch" in process.stdout.readline()
    served.operate("revoke", "--agent", "watched", "--reason", "test")
    assert any("watched" in process.stdout.readline() for _ in range(100))
    assert interrupted(process) == 130


def test_the_feed_of_nobody_is_refused(served):
    done = served.operate("feed", "watch", "--audience", "https://nobody.example.com")
    assert done.code == 1
    assert "unknown_audience" in done.err


def test_without_a_key_the_feed_is_asked_for_by_nobody_in_particular(served):
    """With a `redis_url` that is refused: only services and operators follow."""
    done = run("feed", "watch", "--audience", AUDIENCE, "--broker", served.url)
    assert done.code == 1
    assert "invalid_client" in done.err


# Signing in


def test_an_operator_without_a_key_is_told_how_to_get_one(served):
    done = run("lease", "list", "--broker", served.url)
    assert done.code == 2
    assert "--operator-key" in done.err


def test_an_operator_whom_the_registry_does_not_know_is_refused_with_a_hint(served):
    done = served.operate("lease", "list", "--operator", "nobody")
    assert done.code == 1
    assert "is the key of --operator-key in the registry" in done.err


def test_a_key_that_others_can_read_is_not_used(served, tmp_path):
    key = tmp_path / "operator.jwk"
    key.write_text(served.key.read_text())
    key.chmod(0o644)
    done = run("lease", "list", "--broker", served.url, "--operator-key", str(key))
    assert done.code == 2
    assert "chmod 600" in done.err


def test_where_and_who_one_is_can_stand_in_the_environment(served, monkeypatch):
    monkeypatch.setenv("BROKER_URL", served.url)
    monkeypatch.setenv("BROKER_OPERATOR_KEY", str(served.key))
    monkeypatch.setenv("BROKER_IDENTITY_FILE", str(served.identity))
    assert run("agent", "list").code == 0
    assert run("token", "request", SUBJECT).code == 0


@pytest.mark.parametrize(
    "command", [("lease", "list"), ("agent", "list"), ("audit", "tail"), ("revoke", "--all", "--reason", "x")]
)
def test_a_broker_that_is_not_there_has_an_exit_code_of_its_own(served, command):
    done = run(*command, "--broker", "http://127.0.0.1:1", "--operator-key", str(served.key))
    assert (done.code, done.out) == (3, "")
    assert "broker serve" in done.err


def test_an_address_in_the_clear_beyond_this_machine_is_wrong_usage(served):
    done = run("lease", "list", "--broker", "http://broker.example.com", "--operator-key", str(served.key))
    assert done.code == 2
    assert "https" in done.err


def interrupted(process) -> int:
    """Press Ctrl-C; nothing is printed about it."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err == ""
    return int(process.returncode)
