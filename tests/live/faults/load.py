"""Those who use the brokers all the time: agents that ask for tokens, operators that take away, an auditor that reads."""

import json
import random
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from broker import private_key_file
from broker.api.token import CLIENT_CREDENTIALS, JWT_SPIFFE
from broker.identity import development
from scopes import jose, ulid
from scopes.clock import SystemClock
from tests.broker.world import ISSUER
from tests.live.faults.referee import Reduction, Referee, Revocation, Token
from tests.live.faults.stage import AGENTS, PODS, BrokerProcess, request
from tests.live.faults.verifiers import boot

TIMEOUT = 4.0
"""The seconds after which an answer is no longer waited for; an answer that is not 202 promises nothing."""

SCOPES = ("crm:ticket/{}#read", "crm:ticket/{}#draft", "kb:article/{}#read")
_RECORDS = 12
REDUCED = AGENTS[-1]
"""The agent that operators reduce and restore; tokens to probe verifiers with are asked for by another."""

_SELECTORS = {"lease": 60, "task": 14, "agent": 6, "instance": 7, "resource": 11, "all": 2}
_YOUNG = 20_000
_MOST_UNCONFIRMED = 12


class Caller:
    """Signs what agents and operators show, and remembers every bit of it: none of it may be found in a log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = {name: private_key_file.read(folder / f"{name}.jwk") for name in ("admin", "watcher")}
        self.secrets: list[str] = []

    def svid(self, workload: str) -> str:
        return self._kept(
            development.sign_svid(self._folder / "keys" / "development", workload, audience=ISSUER, clock=SystemClock())
        )

    def operator(self, name: str) -> dict[str, str]:
        """Return the header of one request."""
        now = SystemClock().now().wall
        claims = {"iss": name, "sub": name, "aud": ISSUER, "iat": now // 1000, "exp": now // 1000 + 60, "jti": ulid.new(now)}
        signed = self._kept(jose.write(msgspec.json.encode(claims), type="JWT", key=self._keys[name]))
        return {"Authorization": f"Bearer {signed}"}

    def _kept(self, secret: str) -> str:
        self.secrets.append(secret)
        return secret


class Worker:
    """A thread that does one thing again and again, at a pace, until it is told to end. A failure is counted, and is none."""

    def __init__(self, name: str, act: Callable[[], None], *, pause: float) -> None:
        self._act = act
        self._pause = pause
        self._ending = threading.Event()
        self.failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ending.wait(self._pause):
            try:
                self._act()
            except httpx2.HTTPError:
                continue
            except Exception as error:  # whatever it was: it is a fault of the suite, and has to be seen at its end
                self.failures.append(error)


class Agents:
    """Ask for tokens for random records, half of them in tasks of their own."""

    def __init__(self, caller: Caller, referee: Referee, chance: random.Random) -> None:
        self._caller, self._referee, self._chance = caller, referee, chance

    def ask(self, broker: BrokerProcess, *, scope: str = "", timeout: float = TIMEOUT) -> Token | None:
        """Ask for one token, for any scope where none is named; return it if there was one."""
        agent = AGENTS[0] if scope else self._chance.choice(AGENTS)
        workload = f"spiffe://development.test/pod/{agent}/{self._chance.choice(PODS)}"
        form = {
            "grant_type": CLIENT_CREDENTIALS,
            "client_assertion_type": JWT_SPIFFE,
            "client_assertion": self._caller.svid(workload),
            "scope": scope or self._chance.choice(SCOPES).format(self._chance.randrange(_RECORDS)),
        }
        if self._chance.random() < 0.5:
            form["task_declaration"] = json.dumps({"type": "work"})
        asked = boot()
        answer = request("POST", f"{broker.url}/oauth/token", data=form, timeout=timeout)
        received = boot()
        self._referee.counts[f"token requests answered {_told(answer)}"] += 1
        if answer.status_code != httpx2.codes.OK:
            return None
        return self._referee.handed_out(answer.json()["access_token"], asked, received)


class Operators:
    """Take away at random: a lease, a task, an agent, an instance, a resource, everything."""

    def __init__(self, caller: Caller, referee: Referee, chance: random.Random) -> None:
        self._caller, self._referee, self._chance = caller, referee, chance
        self._reduced = ""
        self._unconfirmed: deque[tuple[str, Revocation]] = deque(maxlen=_MOST_UNCONFIRMED)

    def change_reduction(self, broker: BrokerProcess) -> None:
        """Reduce or suspend the agent that this happens to, or let it go on."""
        asked = boot()
        to = self._chance.choice(("paused", "read-only", "suspended"))
        if self._reduced:
            self._referee.restored(REDUCED, asked)
        answer = self._stop(broker, self._reduced or to, is_over=bool(self._reduced))
        if answer.status_code != httpx2.codes.ACCEPTED:
            return
        if not self._reduced:
            told, kind = answer.json(), "drafts" if to == "read-only" else "agent"
            revocation = Revocation(kind, REDUCED, asked, boot(), (told["epoch"], told["seq"]))
            self._referee.reduced(Reduction(to, REDUCED, boot()), revocation)
        self._reduced = "" if self._reduced else to

    def _stop(self, broker: BrokerProcess, to: str, *, is_over: bool) -> httpx2.Response:
        body: dict[str, Any] = {"reason": "a fault is near"}
        if to == "suspended":
            return self._post(f"{broker.url}/v1/agents/{REDUCED}/{'resume' if is_over else 'suspend'}", body)
        return self._post(
            f"{broker.url}/v1/reductions", {"selector": {"agent": REDUCED}, "to": "none" if is_over else to, **body}
        )

    def act(self, broker: BrokerProcess) -> None:
        """Take away something that is out."""
        token = self._referee.pick(self._chance.choice, most_age=_YOUNG)
        if token is not None:
            kind = self._chance.choices(list(_SELECTORS), list(_SELECTORS.values()))[0]
            self.revoke(broker, kind, _value(kind, token))

    def revoke(self, broker: BrokerProcess, kind: str, value: str) -> bool:
        """Revoke; tell whether the answer was 202. The end of a task goes its own way."""
        if kind == "task" and self._chance.random() < 0.5:
            return self._end_task(broker, value)
        body = {"selector": {kind: True if kind == "all" else value}, "reason": "a fault is near"}
        asked = boot()
        answer = self._post(f"{broker.url}/v1/revocations", body)
        if answer.status_code != httpx2.codes.ACCEPTED:
            return False
        told = answer.json()
        revocation = Revocation(kind, value, asked, boot(), (told["epoch"], told["seq"]))
        self._referee.revoked(revocation)
        self._unconfirmed.append((told["id"], revocation))
        return True

    def look_who_enforces(self, broker: BrokerProcess) -> None:
        """Have the broker say which verifiers enforce the latest revocation, or an earlier one, and hold them to it."""
        if not self._unconfirmed:
            return
        id, revocation = self._unconfirmed.pop() if self._chance.random() < 0.5 else self._unconfirmed.popleft()
        answer = request("GET", f"{broker.url}/v1/revocations/{id}", headers=self._caller.operator("admin"), timeout=TIMEOUT)
        if answer.status_code != httpx2.codes.OK:
            return
        shown = [verifier for verifier in answer.json()["verifiers"] if verifier["process"] is not None]
        self._referee.counts.update(f"verifiers shown as {verifier['state']}" for verifier in shown)
        refusing = [
            verifier["workload"].rpartition("/")[2] for verifier in shown if verifier["state"] in ("enforced", "fenced")
        ]
        self._referee.shown_as_refused(revocation, refusing)

    def _end_task(self, broker: BrokerProcess, id: str) -> bool:
        asked = boot()
        answer = self._post(f"{broker.url}/v1/tasks/{id}/cancel", {})
        if answer.status_code != httpx2.codes.OK:
            return False
        # The answer names no place in the feed, so that only what was out before is known to be hit.
        self._referee.revoked(Revocation("task", id, asked, boot(), ("", 0)))
        return True

    def _post(self, url: str, body: dict[str, Any]) -> httpx2.Response:
        answer = request("POST", url, json=body, headers=self._caller.operator("admin"), timeout=TIMEOUT)
        self._referee.counts[f"ends answered {_told(answer)}"] += 1
        return answer


def _told(answer: httpx2.Response) -> str:
    if answer.is_success or answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        return str(answer.status_code)
    body = answer.json()
    return f"{answer.status_code} {body.get('error', body.get('code'))} {body.get('reason', '')}"


def _value(kind: str, token: Token) -> str:
    values = {
        "lease": token.lease,
        "task": token.path[-1],
        "agent": token.agent,
        "instance": token.workload,
        "resource": token.resource,
        "all": "",
    }
    return values[kind]
