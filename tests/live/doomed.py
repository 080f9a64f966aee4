"""Asks for tokens in processes that each die at another step on the way to one; run by `test_crash.py`.

For every step a child is forked which composes the issuer and the exchange with collaborators that count, and which kills
itself with SIGKILL when the count is reached. What it hands out it writes to a pipe first, as a server does to its caller.
"""

import asyncio
import inspect
import itertools
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from redis.asyncio.connection import Connection

from broker import app, settings
from broker.active import Active, Rules
from broker.app import Broker, Stores
from broker.delegation import Delegations
from broker.exchange import Exchange, TokenRequest
from broker.identity import Presented, development
from broker.issuer import Issuer
from broker.permits import Permits
from broker.store import Store, SyncStore
from scopes.clock import SystemClock
from scopes.scope import Scope

AGENT = "spiffe://development.test/agent/support-bot"
SCOPE = Scope.parse("crm:ticket/4711#read[subject]")
_CHUNK = 65_536


class Doom:
    """Kills this process at one step; `passed` counts them."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._passed = 0

    def draw_near(self) -> None:
        self._passed += 1
        if self._passed == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


class Doomed:
    """A collaborator at whose every call, and every answer, the end may come."""

    def __init__(self, target: Any, doom: Doom) -> None:
        self._target = target
        self._doom = doom

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._target, name)
        return doomed_call(member, self._doom) if callable(member) else member


def doomed_call(call: Any, doom: Doom) -> Any:
    if inspect.iscoroutinefunction(call):

        async def wait(*asked: Any, **named: Any) -> Any:
            doom.draw_near()
            answer = await call(*asked, **named)
            doom.draw_near()
            return answer

        return wait

    def act(*asked: Any, **named: Any) -> Any:
        doom.draw_near()
        answer = call(*asked, **named)
        doom.draw_near()
        return answer

    return act


def exchange_of(broker: Broker, doom: Doom) -> Exchange:
    """Compose issuer and exchange anew, with collaborators that may be the end of the process."""
    names = "identities possession standing tasks follower audit leases exposures refusals enforceable users"
    near: dict[str, Any] = {name: Doomed(getattr(broker, name), doom) for name in names.split()}
    issuer = Issuer(
        issuer=broker.configuration.settings.issuer,
        keys=SimpleNamespace(token=Doomed(broker.keys.token, doom)),  # type: ignore[arg-type]
        leases=near["leases"],
        audit=near["audit"],
        follower=near["follower"],
        store=broker.stores.shared,
        stuck=broker.stuck_work,
        clock=broker.clock,
    )
    rules = broker.active.rules
    delegations = Delegations(
        issuer=broker.configuration.settings.issuer,
        keys=broker.keys,
        users=near["users"],
        leases=near["leases"],
        tasks=near["tasks"],
    )
    permits = Permits(exposures=near["exposures"], refusals=near["refusals"], enforceable=near["enforceable"], max_ttl=900)
    return Exchange(
        identities=near["identities"],
        possession=near["possession"],
        active=Active(Rules(rules.registry, Doomed(rules.policy, doom), rules.activation)),  # type: ignore[arg-type]
        standing=near["standing"],
        delegations=delegations,
        permits=permits,
        issuer=Doomed(issuer, doom),  # type: ignore[arg-type]
        follower=near["follower"],
        refusals=near["refusals"],
        watch=broker.watch,
    )


async def ask(folder: Path, step: int, hand_out: int) -> None:
    """Ask for one token and hand it out, unless the process ends before."""
    configuration = app.configure(settings.load(folder / "broker.toml"))
    url = configuration.settings.redis_url
    assert url is not None
    doom = Doom(step)
    broker = Broker(configuration, Stores(Store.connect(url), SyncStore.connect(url)), clock=SystemClock())
    broker.follower.catch_up()
    broker.watch.step()
    await broker.stores.shared.call("PING")
    # What is sent to the store and what comes back are steps as well, so that it can end while a script runs there.
    Connection.send_packed_command = doomed_call(Connection.send_packed_command, doom)  # type: ignore[method-assign]
    Connection.read_response = doomed_call(Connection.read_response, doom)  # type: ignore[method-assign]
    svid = development.sign_svid(
        folder / "keys" / "development", AGENT, audience=configuration.settings.issuer, clock=SystemClock()
    )
    issued = await exchange_of(broker, doom)(TokenRequest(Presented(svid), SCOPE))
    doom.draw_near()
    os.write(hand_out, issued.access_token.encode())
    doom.draw_near()


def outcome_of(folder: Path, step: int) -> dict[str, Any]:
    """Have a child ask, and tell how it ended and what it handed out."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(ask(folder, step, writing))
        except BaseException:  # whatever it was: a child that fails must say so, and never run on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    token = b"".join(iter(lambda: os.read(reading, _CHUNK), b"")).decode()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"step": step, "killed": killed, "status": status, "token": token}


def main(folder: Path) -> None:
    """Print one JSON document for each step, until a child has come to the end of its way."""
    for step in itertools.count(1):
        outcome = outcome_of(folder, step)
        print(json.dumps(outcome), flush=True)
        if not outcome["killed"]:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
