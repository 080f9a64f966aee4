"""A host of protected services: one process with many `scopes.Verifier`s, each of which is shown every token, over and over.

Commands come as JSON lines on standard input, what was seen goes as JSON lines to standard output. All times are milliseconds
of the boot clock, which every process of this machine shares; only the verifiers' own clock can be set wrong.
"""

import json
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.identity import development
from scopes import Revoked, VerificationError, Verifier
from scopes.clock import Instant, SystemClock

ROUND = 100
"""The milliseconds from one round of presentations to the next; a round also never takes more than half of the time."""

_COUNT_EVERY = 1_000
_CHUNK = 1 << 20
ACCEPTED = "accepted"


class SkewedClock:
    """The system's clock, with the wall clock wrong by `skew` milliseconds."""

    def __init__(self) -> None:
        self.skew = 0

    def now(self) -> Instant:
        real = SystemClock().now()
        return Instant(real.wall + self.skew, real.boot)


class Service:
    """One verifier of one audience, under a name that is never used again.

    `refused` are the tokens that it refused as revoked; `bound` those of which brokers say that it refuses them by now.
    """

    def __init__(self, name: str, audience: str, verifier: Verifier) -> None:
        self.name = name
        self.audience = audience
        self.verifier = verifier
        self.began = boot()
        self.highest = ("", -1, 0)
        self.refused: set[int] = set()
        self.bound: set[int] = set()
        self.told: set[int] = set()

    def present(self, shown: dict[str, Any]) -> str:
        """Return `accepted`, or the code of the refusal."""
        try:
            self.verifier.verify(shown["token"], action=shown["action"], resource=shown["resource"])
        except VerificationError as error:
            return "revoked" if isinstance(error, Revoked) else error.code
        return ACCEPTED


class Host:
    """All verifiers of this process and the tokens that they are shown."""

    def __init__(self, name: str, issuer: str, keys: Path, audiences: dict[str, str], each: int) -> None:
        self._name, self._issuer, self._keys, self._audiences = name, issuer, keys, audiences
        self._clock = SkewedClock()
        self._made = 0
        self._shown: dict[int, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self._counted = 0
        self.services = [self._new(audience) for audience in audiences for _ in range(each)]

    def obey(self, command: dict[str, Any]) -> None:
        """Carry out one command of whoever runs the suite."""
        getattr(self, f"_do_{command.pop('do')}")(**command)

    def round(self) -> None:
        """Show every token to every verifier of its audience."""
        for service in self.services:
            self._check_direction(service)
        for number, shown in self._shown.items():
            audience = shown["audience"]
            verdicts = [self._show(number, shown, each) for each in self.services if each.audience == audience]
            state = (verdicts.count(ACCEPTED), len(verdicts))
            if state != shown["state"]:
                shown["state"] = state
                say("state", token=number, accepted=state[0], of=state[1], at=boot())
        self._tell_counts()

    def _show(self, number: int, shown: dict[str, Any], service: Service) -> str:
        epoch, at = service.verifier.picture.epoch, boot()
        verdict = service.present(shown)
        self._counts[verdict] = self._counts.get(verdict, 0) + 1
        if verdict == ACCEPTED:
            self._judge(number, shown, service, epoch, at)
        elif verdict == "revoked":
            service.refused.add(number)
        since = shown["since"]
        # One that began later was never late.
        if since is not None and since > service.began and verdict != ACCEPTED:
            shown["delays"].setdefault(service.name, boot() - max(since, shown["shown_at"]))
        return verdict

    def _judge(self, number: int, shown: dict[str, Any], service: Service, epoch: str, at: int) -> None:
        """Report an acceptance that must not be; once for each token and verifier. `at` is before the token was shown."""
        wrong = ""
        if shown["by"] is not None and at > shown["by"]:
            wrong = "accepted after the bound"
        elif number in service.refused:
            wrong = "accepted after it was refused as revoked"
        elif number in service.bound:
            wrong = "accepted though the broker shows the revocation as enforced or fenced there"
        elif shown["epoch"] < epoch:
            wrong = "accepted in a later epoch than its own"
        if wrong and number not in service.told:
            service.told.add(number)
            say("wrong", token=number, verifier=service.name, what=wrong, at=at)

    def _check_direction(self, service: Service) -> None:
        picture = service.verifier.picture
        place = (picture.epoch, picture.seq, picture.as_of)
        if place[:2] < service.highest[:2] or (place[:2] == service.highest[:2] and place[2] < service.highest[2]):
            say("wrong", token=None, verifier=service.name, what=f"went back from {service.highest} to {place}", at=boot())
        service.highest = place

    def _do_present(self, number: int, **shown: Any) -> None:
        self._shown[number] = {**shown, "shown_at": boot(), "since": None, "by": None, "state": (0, 0), "delays": {}}

    def _do_end(self, number: int, since: int, by: int) -> None:
        shown = self._shown.get(number)
        if shown is not None and (shown["by"] is None or by < shown["by"]):
            shown["since"], shown["by"] = since, by

    def _do_bind(self, tokens: list[int], verifiers: list[str]) -> None:
        for service in self.services:
            if service.name in verifiers:
                service.bound.update(tokens)

    def _do_drop(self, number: int) -> None:
        shown = self._shown.pop(number, None)
        if shown is not None and shown["since"] is not None:
            say("delays", token=number, delays=list(shown["delays"].values()))

    def _do_skew(self, milliseconds: int) -> None:
        self._clock.skew = milliseconds

    def _do_renew(self) -> None:
        """Replace one verifier of each audience by one that starts anew and knows nothing."""
        for audience in self._audiences:
            oldest = next(service for service in self.services if service.audience == audience)
            self.services.remove(oldest)
            # It says goodbye to a broker that may be out of reach, and nobody here waits for that.
            threading.Thread(target=oldest.verifier.close, daemon=True).start()
            self.services.append(self._new(audience))

    def _do_leave(self) -> None:
        say("left")
        os._exit(0)

    def _new(self, audience: str) -> Service:
        self._made += 1
        name = f"{self._name}.{self._made}"
        identity = self._identity(f"{self._audiences[audience]}/{name}")
        return Service(name, audience, Verifier(self._issuer, audience, identity, clock=self._clock))

    def _identity(self, workload: str) -> Callable[[], str]:
        # Signed once, as an SVID is that a sidecar keeps in a file; it outlives every verifier here.
        svid = development.sign_svid(self._keys, workload, audience=self._issuer, clock=SystemClock())
        return lambda: svid

    def _tell_counts(self) -> None:
        if boot() - self._counted >= _COUNT_EVERY:
            ready = sum(service.verifier.is_ready for service in self.services)
            say("counts", ready=ready, of=len(self.services), presented=self._counts, shown=len(self._shown))
            self._counts, self._counted = {}, boot()


def boot() -> int:
    """Return the milliseconds of the boot clock."""
    return SystemClock().now().boot


def say(kind: str, **seen: Any) -> None:
    """Report to whoever runs the suite."""
    os.write(1, json.dumps({"kind": kind, **seen}).encode() + b"\n")


def serve(host: Host) -> None:
    """Present and obey until told to leave, or until nobody gives commands any more."""
    unread = b""
    while True:
        begin = boot()
        host.round()
        spent = boot() - begin
        if not select.select([0], [], [], max(ROUND - spent, spent, 1) / 1000)[0]:
            continue
        chunk = os.read(0, _CHUNK)
        if not chunk:
            os._exit(1)
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            host.obey(json.loads(line))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    configured = json.loads(sys.argv[1])
    serve(Host(**{**configured, "keys": Path(configured["keys"])}))
