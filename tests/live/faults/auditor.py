"""The auditor: reads the audit from outside all the time and looks up leases, so that each token is found written (I2).

What a token's record said is judged by a reading that began after the token was handed out and came to the end of the audit.
Where the store lost its contents on purpose before such a reading, nobody can tell any more, and the token counts as lost.
"""

from typing import Any

import httpx2

from tests.live.faults.load import TIMEOUT, Caller
from tests.live.faults.referee import Referee, Token
from tests.live.faults.stage import BrokerProcess, request
from tests.live.faults.verifiers import boot

_MOST_LOOKED_UP = 40


class Auditor:
    """Reads on from its last cursor. `text` is all that was read, for whoever looks for tokens in it."""

    def __init__(self, caller: Caller, referee: Referee) -> None:
        self._caller, self._referee = caller, referee
        self._cursor = ""
        self._issued: dict[str, dict[str, Any]] = {}
        self._unsettled: list[Token] = []
        self._entered = 0
        self.text: list[str] = []

    def act(self, broker: BrokerProcess) -> None:
        """Read to the end, then settle what was handed out before that reading began."""
        began = boot()
        self._read_to_the_end(broker)
        self._referee.counts["readings of the audit"] += 1
        self._take_new()
        for token in self._unsettled[:_MOST_LOOKED_UP]:
            if not token.has_lease:
                token.has_lease = self._look_up(broker, token)
        self._unsettled = [token for token in self._unsettled if not self._settle(token, began)]

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    def _read_to_the_end(self, broker: BrokerProcess) -> None:
        while records := self._page(broker):
            for record in records:
                self._cursor = record["cursor"]
                if record["kind"] == "token.issued":
                    self._issued[record["lease"]] = record

    def _page(self, broker: BrokerProcess) -> list[dict[str, Any]]:
        answer = self._get(f"{broker.url}/v1/audit/events", {"cursor": self._cursor} if self._cursor else {})
        answer.raise_for_status()
        self.text.append(answer.text)
        told = answer.json()
        return list(told["events"])

    def _take_new(self) -> None:
        known = len(self._referee.tokens)
        self._unsettled += [self._referee.tokens[number] for number in range(self._entered, known)]
        self._entered = known

    def _look_up(self, broker: BrokerProcess, token: Token) -> bool:
        """Tell whether the lease is there, as one that may have a token. Not where the store lost its contents meanwhile."""
        answer = self._get(f"{broker.url}/v1/leases/{token.lease}", {})
        if answer.status_code == httpx2.codes.NOT_FOUND and not self._was_lost(token, boot()):
            self._referee.blame("a token without a lease", token)
            return True
        if answer.status_code != httpx2.codes.OK:
            return False
        lease = answer.json()
        said = (lease["agent"], lease["workload"], lease["epoch"], lease["position"])
        if said != (token.agent, token.workload, *token.place) or lease["status"] == "undone":
            self._referee.blame(f"a token whose lease says otherwise: {lease}", token)
        return True

    def _settle(self, token: Token, began: int) -> bool:
        """Tell whether it is known of a token what can be known."""
        token.has_record = token.has_record or self._has_record(token)
        if self._was_lost(token, boot()):
            token.lost = not (token.has_record and token.has_lease)
            return True
        # The audit leaves its present millisecond for the next reading.
        if not token.has_record and token.received + 2 < began:
            self._referee.blame("a token without an audit record", token)
            token.has_record = True
        return token.has_record and token.has_lease

    def _has_record(self, token: Token) -> bool:
        record = self._issued.get(token.lease)
        if record is None:
            return False
        said = (record["agent"], record["workload"], record["epoch"], record["position"])
        if said != (token.agent, token.workload, *token.place):
            self._referee.blame(f"a token whose record says otherwise: {record}", token)
        return True

    def _was_lost(self, token: Token, until: int) -> bool:
        """Tell whether a fault may have thrown the token's record away between its handing out and now."""
        return any(span.loses and token.received <= span.healed and until >= span.injected for span in self._referee.spans)

    def _get(self, url: str, params: dict[str, str]) -> httpx2.Response:
        return request("GET", url, params=params, headers=self._caller.operator("watcher"), timeout=TIMEOUT)
