"""The demo's agent: a process with an identity of its own, told what to do by lines of JSON on its standard input.

Its key stays with it, and so do its tokens, until it is told to lose a copy: it is told to use one by the name it was asked for
under.
"""

import asyncio
import contextlib
import sys
from typing import Any

import httpx2
import msgspec

from broker.client import Agent, ClientError, Task, Token


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do. `name` is that of a task or a token, `task` that of the task to ask for."""

    do: str
    name: str = ""
    task: str = ""
    type: str = ""
    scope: str = ""
    ttl: int | None = None
    method: str = "GET"
    url: str = ""


class Puppet:
    """Carries out orders with the agent's client."""

    def __init__(self, agent: Agent, http: httpx2.AsyncClient) -> None:
        self._agent = agent
        self._http = http
        self._tasks: dict[str, Task] = {}
        self._open: dict[str, contextlib.AsyncExitStack] = {}
        self._tokens: dict[str, Token] = {}
        self._proofs: dict[str, str] = {}

    async def obey(self, order: Order) -> dict[str, Any]:
        """Carry out one order, and say what came of it; refusals by the broker are answers."""
        orders = {"declare": self._declare, "complete": self._complete, "token": self._token, "call": self._call}
        orders |= {"lose": self._lose}
        try:
            return await orders[order.do](order)
        except ClientError as error:
            return {"error": error.code, "reason": error.reason}
        except httpx2.HTTPError as error:
            return {"error": "unreachable", "reason": type(error).__name__}

    async def _declare(self, order: Order) -> dict[str, Any]:
        stack = self._open[order.name] = contextlib.AsyncExitStack()
        task = await stack.enter_async_context(self._agent.task(order.type, purpose="Answer the customer"))
        self._tasks[order.name] = task
        return {"task": task.id}

    async def _complete(self, order: Order) -> dict[str, Any]:
        await self._open.pop(order.name).aclose()
        return {"task": self._tasks.pop(order.name).id}

    async def _token(self, order: Order) -> dict[str, Any]:
        token = await self._tasks[order.task].token(order.scope, ttl=order.ttl)
        self._tokens[order.name] = token
        return {"lease": token.lease_id, "scope": token.scope}

    async def _call(self, order: Order) -> dict[str, Any]:
        authorization = self._agent.authorization(self._tokens[order.name])
        answer = await self._http.request(order.method, order.url, auth=authorization)
        self._proofs[order.name] = answer.request.headers["dpop"]
        return {"status": answer.status_code, "body": answer.json()}

    async def _lose(self, order: Order) -> dict[str, Any]:
        return {"token": self._tokens[order.name].text, "proof": self._proofs[order.name]}


async def main() -> None:
    """Obey until the standard input ends."""
    loop = asyncio.get_running_loop()
    async with httpx2.AsyncClient(timeout=5.0) as http, Agent.from_environment() as agent:
        puppet = Puppet(agent, http)
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            answer = await puppet.obey(msgspec.json.decode(line, type=Order))
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main())
