import json

import pytest

from scopes import claims as token_claims
from scopes.claims import MAX_LIFETIME, Claims
from scopes.errors import InvalidDocument
from scopes.scope import Scope
from tests.scopes.tokens import AUDIENCE, detail, members, of_scope, without

NOW = 1_795_318_537
BOT, RUNNER = "spiffe://prod.example.com/bot", "spiffe://prod.example.com/runner"


def decoded(**changes: object) -> tuple[Claims, Scope]:
    return token_claims.decode(json.dumps(members(now=NOW, **changes)).encode())  # type: ignore[arg-type]


def refused(**changes: object) -> bool:
    try:
        decoded(**changes)
    except InvalidDocument:
        return True
    return False


def test_a_whole_token_is_read_as_it_is_written_in_the_contract():
    """Every member that `WIRE.md` names."""
    full = members(
        now=NOW,
        sub="corp:jane",
        act={"sub": BOT, "act": {"sub": RUNNER}},
        cnf={"jkt": "0ZcO"},
        status={"status_list": {"idx": 41287, "uri": "https://broker.example.com/status/v1/lists/9c1f"}},
        lease={
            "user": True,
            "instance": "pod-1",
            "approval": "apr_1",
            "single_use": True,
            "max_uses": 3,
            "ends_on_taint": True,
            "ends_with": ["lease lse_0", "agent planner", "instance spiffe://prod.example.com/planner"],
            "ends_on_labels": ["health", "pii"],
        },
    )
    claims, scope = token_claims.decode(json.dumps(full).encode())
    assert json.loads(token_claims.encode(claims)) == full
    assert str(scope) == full["scope"]
    assert claims.workload == BOT


def test_what_is_encoded_is_decoded():
    claims, scope = decoded(cnf={"x5t#S256": "hash"})
    assert token_claims.decode(token_claims.encode(claims)) == (claims, scope)


def test_the_workload_is_the_outermost_actor_or_else_the_subject():
    """Nested actors are history and decide nothing (RFC 8693 §4.1, TRAPS 13)."""
    assert decoded(act={"sub": BOT, "act": {"sub": RUNNER}})[0].workload == BOT
    assert decoded(sub=RUNNER)[0].workload == RUNNER


def test_a_scope_is_said_as_one_detail_of_rfc_9396():
    fields = token_claims.detail_of(Scope.parse("crm:ticket/4711#read[subject]"), AUDIENCE)
    whole = token_claims.detail_of(Scope.parse("crm:ticket/4711#read"), AUDIENCE)
    assert json.loads(json.dumps(token_claims.as_members(fields))) == detail("crm:ticket/4711#read[subject]")
    assert "datatypes" not in token_claims.as_members(whole)


@pytest.mark.parametrize("scope", ["crm:ticket/4711#read", "crm:ticket/4711/note/1#draft[body]"])
def test_a_scope_said_twice_alike_is_accepted(scope):
    assert str(decoded(**of_scope(scope))[1]) == scope


@pytest.mark.parametrize("name", list(members(now=NOW)))
def test_a_token_without_a_required_claim_is_refused(name):
    with pytest.raises(InvalidDocument):
        token_claims.decode(json.dumps(without(members(now=NOW), name)).encode())


@pytest.mark.parametrize("name", ["epoch", "position", "path", "level", "max_staleness"])
def test_a_token_without_a_required_member_of_its_lease_is_refused(name):
    claims = members(now=NOW)
    with pytest.raises(InvalidDocument):
        token_claims.decode(json.dumps(claims | {"lease": without(claims["lease"], name)}).encode())


@pytest.mark.parametrize("value", [True, 1.5, float(NOW), str(NOW), None, -1, 10**30, 2**40, [NOW]], ids=repr)
@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
def test_a_time_is_a_whole_number_of_seconds_in_its_range(name, value):
    """A boolean, float, negative, huge or quoted time (TRAPS 2, 4)."""
    assert refused(**{name: value})


@pytest.mark.parametrize(
    "times",
    [
        pytest.param({"nbf": NOW + 301}, id="begins after its end"),
        pytest.param({"iat": NOW + 301}, id="issued after its end"),
        pytest.param({"iat": 2**40, "nbf": 2**40, "exp": 2**40}, id="thousands of years from now"),
        pytest.param({"exp": NOW + MAX_LIFETIME + 1}, id="lives longer than an hour, when events that end it may be forgotten"),
    ],
)
def test_times_out_of_order_are_refused(times):
    assert refused(**times)


def test_a_token_may_live_an_hour():
    assert not refused(exp=NOW + MAX_LIFETIME)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aud": [AUDIENCE]}, id="aud an array of its one entry"),
        pytest.param({"aud": [AUDIENCE, "https://other.example.com"]}, id="aud an array with a foreign entry (TRAPS 2)"),
        pytest.param({"extra": 1}, id="a claim that is not known"),
        pytest.param({"jti": 5}, id="a number for a text (TRAPS 14)"),
        pytest.param({"act": {"sub": BOT, "role": "admin"}}, id="an actor with an unknown member"),
        pytest.param({"act": BOT}, id="an actor that is a text"),
        pytest.param({"status": {"status_list": {"idx": 1, "uri": "x", "bits": 2}}}, id="a status with an unknown member"),
        pytest.param({"cnf": {}}, id="cnf of nothing"),
        pytest.param({"cnf": {"jkt": "a", "x5t#S256": "b"}}, id="cnf with two members (TRAPS 17)"),
        pytest.param({"cnf": {"jwk": {}}}, id="cnf of a kind that is not known"),
    ],
)
def test_what_is_not_known_or_of_another_type_is_refused(changes):
    """Invariant I5: unknown means no."""
    assert refused(**changes)


@pytest.mark.parametrize(
    "lease",
    [
        pytest.param({"geo": "eu"}, id="a constraint that is not known"),
        pytest.param({"level": "admin"}, id="a level that is not known"),
        pytest.param({"level": None}, id="no level"),
        pytest.param({"position": -1}, id="a position below the log"),
        pytest.param({"position": True}, id="a boolean for a position (TRAPS 4)"),
        pytest.param({"position": 1.0}, id="a float for a position (TRAPS 4)"),
        pytest.param({"max_staleness": -1}, id="a staleness below zero"),
        pytest.param({"max_uses": 0}, id="no uses"),
        pytest.param({"single_use": 1}, id="a number for a boolean (TRAPS 4)"),
        pytest.param({"ends_with": "lease lse_0"}, id="a text for a list of events"),
        pytest.param({"ends_with": ["lease"]}, id="an event of nothing"),
        pytest.param({"ends_with": ["lease "]}, id="an event of a lease without a name"),
        pytest.param({"ends_with": [" lease lse_0"]}, id="an event with a space before it"),
        pytest.param({"ends_with": ["all"]}, id="an event that ends every token anyway"),
        pytest.param({"ends_with": ["region eu"]}, id="an event of a kind that is not known"),
        pytest.param({"ends_with": ["lease lse_0\nagent x"]}, id="two events in one"),
        pytest.param({"ends_with": [f"lease lse_{number}" for number in range(25)]}, id="events without end"),
        pytest.param({"path": []}, id="no task"),
        pytest.param({"path": ["tsk_02"]}, id="a path that does not start at the root task"),
        pytest.param({"path": ["tsk_02", "tsk_01"]}, id="a path upside down"),
        pytest.param({"path": ["tsk_01", "a", "b", "c", "d"]}, id="a path of five"),
    ],
)
def test_a_lease_that_is_not_understood_is_refused(lease):
    assert refused(lease=lease)


def test_a_path_may_have_four_tasks():
    """Every task of the path ends the token, so middle ones are named too (TRAPS 23b)."""
    assert decoded(lease={"path": ["tsk_01", "a", "b", "c"]})[0].lease.path == ("tsk_01", "a", "b", "c")


WIDE = detail("crm:ticket/4711#read[description,subject]")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scope": "crm:ticket/4711#read[subject,description]"}, id="fields in another order"),
        pytest.param({"scope": "crm:ticket/4711#read"}, id="no fields in the scope"),
        pytest.param({"scope": "crm:ticket/*#read[description,subject]"}, id="a wildcard in a token"),
        pytest.param({"scope": "not a scope"}, id="no scope"),
        pytest.param({"scope": ""}, id="an empty scope"),
        pytest.param({"authorization_details": []}, id="no detail"),
        pytest.param({"authorization_details": [WIDE, WIDE]}, id="two details"),
        pytest.param({"authorization_details": [WIDE | {"identifier": "crm:ticket/4712"}]}, id="another resource"),
        pytest.param({"authorization_details": [WIDE | {"actions": ["write"]}]}, id="another action"),
        pytest.param({"authorization_details": [WIDE | {"actions": ["read", "write"]}]}, id="two actions"),
        pytest.param(
            {"authorization_details": [WIDE | {"datatypes": ["description", "email", "subject"]}]}, id="another field"
        ),
        pytest.param(
            {"authorization_details": [WIDE | {"datatypes": ["subject", "description"]}]},
            id="fields in another order in the detail",
        ),
        pytest.param({"authorization_details": [without(WIDE, "datatypes")]}, id="no fields in the detail"),
        pytest.param({"authorization_details": [WIDE | {"locations": ["https://other.example.com"]}]}, id="another service"),
        pytest.param({"authorization_details": [WIDE | {"locations": [AUDIENCE, AUDIENCE]}]}, id="two services"),
        pytest.param({"authorization_details": [WIDE | {"type": "account_information"}]}, id="another type"),
        pytest.param({"authorization_details": [WIDE | {"privileges": ["admin"]}]}, id="a member that is not known"),
        pytest.param({"authorization_details": WIDE}, id="the detail without its list"),
    ],
)
def test_scope_and_detail_have_to_say_the_same_one_thing(changes):
    """RFC 9396 §9.1, TRAPS 14: whichever a service reads, it reads the same."""
    assert refused(**changes)
