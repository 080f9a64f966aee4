"""What the demo shows: each scene says what it expects, does it, and tells what happened."""

from collections.abc import Callable
from typing import Any, NamedTuple

from broker.cli.demo.stage import Stage
from scopes import proof
from scopes.clock import Clock, SystemClock
from scopes.keys import SigningKey

TICKET = "tickets:ticket/17#read[description,subject]"
PATH = "/tickets/tickets/17"
SHORT_LIFE = 2
"""The seconds for which the lease lives that is to expire by itself."""

_NOTICE_TIMEOUT = 10.0


class Outcome(NamedTuple):
    """What happened, and in how many milliseconds, of what is worth measuring."""

    happened: str
    milliseconds: int


class Scene(NamedTuple):
    """One line of the demo."""

    title: str
    expected: str
    play: Callable[[Stage], Outcome]


class Line(NamedTuple):
    """One scene as it was played."""

    title: str
    expected: str
    happened: str
    milliseconds: int

    @property
    def as_expected(self) -> bool:
        """Tell whether what happened is what was expected."""
        return self.happened == self.expected


def play(scene: Scene, stage: Stage) -> Line:
    """Play one scene; what breaks it is what happened."""
    try:
        outcome = scene.play(stage)
    except (TimeoutError, KeyError, OSError) as error:
        outcome = Outcome(f"broke off: {error!r}", 0)
    return Line(scene.title, scene.expected, outcome.happened, outcome.milliseconds)


def _timed(action: Callable[[], dict[str, Any]], clock: Clock | None = None) -> Outcome:
    clock = clock or SystemClock()
    start = clock.now()
    answer = action()
    return Outcome(_said(answer), clock.now().since(start))


def _said(answer: dict[str, Any]) -> str:
    """Say an answer in few words: the service's status and its code, or the broker's error and its reason."""
    if "error" in answer:
        return " ".join(str(answer[name]) for name in ("error", "reason") if answer.get(name))
    status, body = answer.get("status"), answer.get("body", {})
    if status is None:
        return "issued"
    return f"{status} {body['error']}" if "error" in body else f"{status} {', '.join(sorted(body))}"


def _a_token_works(stage: Stage) -> Outcome:
    stage.order(do="declare", name="first", type="summarise-ticket")
    stage.order(do="token", name="token", task="first", scope=TICKET)
    return _timed(lambda: stage.call("token", PATH))


def _a_stolen_token(stage: Stage) -> Outcome:
    token = stage.order(do="lose", name="token")["token"]
    return _timed(lambda: stage.call_as_thief(token, PATH, proof=None))


def _with_another_key(stage: Stage) -> Outcome:
    token, now = stage.order(do="lose", name="token")["token"], SystemClock().now().wall
    forged = proof.make(SigningKey.generate(), method="GET", url=f"{stage.service}{PATH}", now=now, token=token)
    return _timed(lambda: stage.call_as_thief(token, PATH, proof=forged))


def _with_a_used_proof(stage: Stage) -> Outcome:
    lost = stage.order(do="lose", name="token")
    return _timed(lambda: stage.call_as_thief(lost["token"], PATH, proof=lost["proof"]))


def _fields_are_absent(stage: Stage) -> Outcome:
    body = stage.call("token", PATH)["body"]
    absent = [field for field in ("card_number", "customer", "email") if field not in body]
    return Outcome(f"without {', '.join(absent)}", 0)


def _another_ticket(stage: Stage) -> Outcome:
    return _timed(lambda: stage.call("token", "/tickets/tickets/18"))


def _a_write(stage: Stage) -> Outcome:
    return _timed(lambda: stage.call("token", PATH, method="PUT"))


def _a_wider_scope(stage: Stage) -> Outcome:
    wider = "tickets:ticket/17#read[card_number,subject]"
    return _timed(lambda: stage.order(do="token", name="wider", task="first", scope=wider))


def _another_service(stage: Stage) -> Outcome:
    return _timed(lambda: stage.call("token", "/archive/tickets/17"))


def _revoked_by_the_operator(stage: Stage) -> Outcome:
    lease = stage.order(do="token", name="revoked", task="first", scope="tickets:ticket/19#read[subject]")["lease"]
    stage.call("revoked", "/tickets/tickets/19")
    stage.operator.revoke({"lease": lease}, reason="the demo's operator takes it back")
    return _until_refused(stage, "revoked", "/tickets/tickets/19")


def _the_task_ends(stage: Stage) -> Outcome:
    stage.order(do="complete", name="first")
    return _until_refused(stage, "token", PATH)


def _expires(stage: Stage) -> Outcome:
    stage.order(do="declare", name="second", type="summarise-ticket")
    stage.order(do="token", name="short", task="second", scope=TICKET, ttl=SHORT_LIFE)
    stage.call("short", PATH)
    return _until_refused(stage, "short", PATH)


def _the_broker_stops(stage: Stage) -> Outcome:
    stage.order(do="token", name="last", task="second", scope=TICKET)
    stage.call("last", PATH)
    stage.kill_broker()
    return _until_refused(stage, "last", PATH)


def _it_returns_empty(stage: Stage) -> Outcome:
    stage.empty_store()
    start = SystemClock().now()
    stage.start_broker()
    stage.wait_until(lambda: _said(stage.call("last", PATH)) != "503 revocation_state_stale", timeout=_NOTICE_TIMEOUT)
    return Outcome(_said(stage.call("last", PATH)), SystemClock().now().since(start))


def _and_issues_again(stage: Stage) -> Outcome:
    stage.order(do="declare", name="third", type="summarise-ticket")
    stage.order(do="token", name="new", task="third", scope=TICKET)
    return _timed(lambda: stage.call("new", PATH))


def _until_refused(stage: Stage, token: str, path: str) -> Outcome:
    start = SystemClock().now()
    stage.wait_until(lambda: stage.call(token, path)["status"] != 200, timeout=_NOTICE_TIMEOUT)
    delay = SystemClock().now().since(start)
    return Outcome(_said(stage.call(token, path)), delay)


SCENES = [
    Scene("A token for one ticket works", "200 description, subject", _a_token_works),
    Scene("A stolen copy without the agent's key is refused", "401 proof_required", _a_stolen_token),
    Scene("So it is with a proof of the thief's own key", "401 invalid_dpop_proof", _with_another_key),
    Scene("And with a proof of the agent that was used before", "401 invalid_dpop_proof", _with_a_used_proof),
    Scene("Fields that were not granted are absent", "without card_number, customer, email", _fields_are_absent),
    Scene("Another ticket is refused", "403 insufficient_scope", _another_ticket),
    Scene("A write is refused", "403 insufficient_scope", _a_write),
    Scene("A wider scope is not issued", "access_denied outside_fields", _a_wider_scope),
    Scene("Copied to another service, the token is refused", "401 invalid_token", _another_service),
    Scene("The operator revokes: the next call is refused", "401 token_revoked", _revoked_by_the_operator),
    Scene("The task ends: its tokens die with it", "401 token_revoked", _the_task_ends),
    Scene(f"A lease of {SHORT_LIFE} seconds expires by itself", "401 token_expired", _expires),
    Scene("The broker is killed: after 3 seconds without news", "503 revocation_state_stale", _the_broker_stops),
    Scene("It returns with an empty store: no earlier token works", "401 token_revoked", _it_returns_empty),
    Scene("And it issues again", "200 description, subject", _and_issues_again),
]
