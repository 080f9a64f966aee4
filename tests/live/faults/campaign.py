"""A campaign: the load runs, faults come one after the other as the seed has it, and the referee looks on."""

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.broker.world import CRM
from tests.live.faults import leaks
from tests.live.faults.auditor import Auditor
from tests.live.faults.fault import Fault, World
from tests.live.faults.load import SCOPES, Agents, Caller, Operators, Worker
from tests.live.faults.referee import BOUND, Referee, Span, Token
from tests.live.faults.stage import SERVICES, BrokerProcess, Stage, VerifierHost
from tests.live.faults.verifiers import boot

RECOVERY = 40.0
"""The seconds after which whoever was hit has to be well again: every broker issues, and every verifier accepts."""

_QUIET = (1.0, 3.0)
_AFTER_BOUND = 6_000
_KEEP_EVERY = 25
_REDUCE_EVERY = 7.0
_LOOK = 0.1
_ASK_EVERY = 10

Say = Callable[[str], None]


class Campaign:
    """One run. Used as a context, it ends with every process gone."""

    def __init__(self, folder: Path, *, seed: int, feeds: int, replicas_required: int, say: Say) -> None:
        self.seed, self._folder, self._say = seed, folder, say
        self._chance = random.Random(seed)
        self._start = time.monotonic()
        self._hosts: list[VerifierHost] = []
        self._workers: list[Worker] = []
        self.referee = Referee(self._tell_hosts, boot)
        self.stage = Stage(folder, feeds=feeds, replicas_required=replicas_required, heard=self.referee.heard)
        self._hosts = self.stage.hosts
        self._caller = Caller(folder)
        self._agents = Agents(self._caller, self.referee, random.Random(seed + 1))
        operators = Operators(self._caller, self.referee, random.Random(seed + 2))
        self._auditor = Auditor(self._caller, self.referee)
        self._world = World(self.stage, self._caller, self._agents, operators, self._chance)

    def __enter__(self) -> "Campaign":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self.stage.close()

    def run(self, kinds: Sequence[type[Fault]], seconds: float) -> None:
        """Play faults of these kinds until the time is over; each kind comes once before any comes again."""
        self.begin()
        bag: list[type[Fault]] = []
        while time.monotonic() - self._start < seconds:
            if not bag:
                bag = self._chance.sample(list(kinds), len(kinds))
            self.play(bag.pop())

    def finish(self) -> None:
        """End the load, let every bound pass, and take in everybody's last word."""
        for worker in self._workers:
            worker.end()
        self._note("the load has ended; waiting for the last bound")
        time.sleep((BOUND + 1000) / 1000)
        for broker in (*self.stage.brokers, *self.stage.brokers):
            with contextlib.suppress(httpx2.HTTPError):
                self._auditor.act(broker)
        self.referee.drop_all()
        time.sleep(1)
        self.stage.close()
        if self.referee.counts["hosts that left in peace"] < len(self._hosts):
            self.referee.blame("a host of verifiers ended by itself")
        secrets = [token.text for token in self.referee.tokens.values()] + self._caller.secrets
        for place in leaks.found(secrets, self._folder / "logs", self._auditor.text):
            self.referee.blame(f"a token or an assertion stands in {place}")
        for worker in self._workers:
            for failure in worker.failures:
                self.referee.blame(f"the suite itself failed: {failure!r}")

    def begin(self) -> None:
        """Let the load begin, and wait until all is well."""
        agents, operators = self._agents, self._world.operators
        for broker in self.stage.brokers:
            self._workers.append(Worker("agents", lambda at=broker: agents.ask(at), pause=0.35))
        self._workers += [
            Worker("operators", lambda: operators.act(self._any_broker()), pause=0.4),
            Worker("reducing operators", lambda: operators.change_reduction(self._any_broker()), pause=_REDUCE_EVERY),
            Worker("watching operators", lambda: operators.look_who_enforces(self._any_broker()), pause=0.5),
            Worker("auditor", lambda: self._auditor.act(self._any_broker()), pause=0.2),
            Worker("settling", lambda: self.referee.drop_settled(after=_AFTER_BOUND, keep_every=_KEEP_EVERY), pause=1.0),
        ]
        took = self._recover()
        self._note(f"all {self.stage.feeds} verifiers accept tokens of both brokers, after {took:.1f} s")

    def _any_broker(self) -> BrokerProcess:
        return random.choice(self.stage.brokers)

    def play(self, kind: type[Fault]) -> None:
        """Have one fault happen, and be healed; wait until all is well again, and a little."""
        fault = kind(self._world)
        span = Span(name=fault.name(), detail="", judged=fault.judged, loses=fault.loses, injected=boot())
        self.referee.spans.append(span)
        self._note(f"{span.name} …")
        self._suffer(fault, span)
        took = self._recover()
        span.recovered = boot()
        lasted = (span.healed - span.injected) / 1000
        self._note(f"{span.told}, healed after {lasted:.1f} s, well {took:.1f} s later")
        self._renew_verifiers()
        time.sleep(self._chance.uniform(*_QUIET))

    def _suffer(self, fault: Fault, span: Span) -> None:
        try:
            fault.inject()
            span.detail = fault.detail
            self._renew_verifiers()
            time.sleep(self._chance.uniform(*fault.lasts))
            fault.heal()
        except BaseException as error:  # whatever it was, and be it Ctrl-C: nobody may stay stopped
            with contextlib.suppress(Exception):
                fault.heal()
            if not isinstance(error, TimeoutError):
                raise
            self.referee.blame(f"{span.told} could not be played: {error}")
        finally:
            span.healed = boot()

    def _renew_verifiers(self) -> None:
        """Have a verifier of each audience on one host start anew, knowing nothing."""
        self._chance.choice(self._hosts).tell("renew")

    def _recover(self) -> float:
        """Wait until tokens of every broker are accepted by every verifier; return how many seconds that took."""
        start, probes = time.monotonic(), dict[tuple[str, str], list[Token]]()
        for turn in range(int(RECOVERY / _LOOK)):
            if turn % _ASK_EVERY == 0:
                self._probe(probes)
            if len(probes) == len(self.stage.brokers) * len(SERVICES) and all(map(self._is_well, probes.values())):
                return time.monotonic() - start
            if time.monotonic() - start > RECOVERY:
                break
            time.sleep(_LOOK)
        missing = {name: self.referee.accepted(tokens[-1].number) for name, tokens in probes.items()}
        self.referee.blame(f"not well again after {RECOVERY:g} s: accepted by, of: {missing}")
        return time.monotonic() - start

    def _probe(self, probes: dict[tuple[str, str], list[Token]]) -> None:
        for broker in self.stage.brokers:
            for audience in SERVICES:
                scope = SCOPES[0 if audience == CRM else -1].format("probe")
                with contextlib.suppress(httpx2.HTTPError):
                    token = self._agents.ask(broker, scope=scope)
                    if token is not None:
                        probes.setdefault((broker.name, audience), []).append(token)

    def _is_well(self, probes: list[Token]) -> bool:
        """Tell whether one of these tokens is accepted by every verifier of its audience."""
        everyone = self.stage.feeds // len(SERVICES)
        return any(self.referee.accepted(token.number) == (everyone, everyone) for token in probes)

    def _tell_hosts(self, do: str, **command: Any) -> None:
        for host in self._hosts:
            host.tell(do, **command)

    def _note(self, what: str) -> None:
        seconds = time.monotonic() - self._start
        self._say(f"{int(seconds) // 60:02d}:{seconds % 60:04.1f}  {what}; violations: {len(self.referee.violations)}")

    def summary(self) -> dict[str, Any]:
        """Return what was done and seen, as numbers."""
        referee = self.referee
        tokens = list(referee.tokens.values())
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._start),
            "feeds": self.stage.feeds,
            "replicas_required": self.stage.replicas_required,
            "faults": _faults(referee.spans),
            "tokens": len(tokens),
            "tokens_with_record_and_lease": sum(token.has_record and token.has_lease for token in tokens),
            "tokens_lost_with_the_store_before_both_were_read": sum(token.lost for token in tokens),
            "tokens_not_looked_up": self._auditor.unsettled,
            "tokens_ended": sum(token.ended is not None for token in tokens),
            "revocations": len(referee.revocations),
            "reductions": len(referee.reductions),
            "presentations": sum(referee.presented.values()),
            "verdicts": dict(referee.presented),
            "milliseconds_to_refusal_in_quiet": _spread(referee.delays["quiet"]),
            "milliseconds_to_refusal_in_faults": _spread(referee.delays["fault"]),
            "counts": dict(sorted(referee.counts.items())),
            "violations": [violation._asdict() for violation in referee.violations],
            "not_judged": [violation._asdict() for violation in referee.unjudged],
        }


def _faults(spans: list[Span]) -> dict[str, dict[str, float]]:
    told: dict[str, list[float]] = {}
    for span in spans:
        told.setdefault(span.name, []).append((span.recovered - span.healed) / 1000)
    return {name: {"times": len(took), "slowest_recovery": round(max(took), 1)} for name, took in sorted(told.items())}


def _spread(values: list[int]) -> dict[str, int]:
    if len(values) < 2:
        return {"seen": len(values)}
    cuts = statistics.quantiles(values, n=100)
    return {"seen": len(values), "p50": round(cuts[49]), "p99": round(cuts[98]), "worst": max(values)}
