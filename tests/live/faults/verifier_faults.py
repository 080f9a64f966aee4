"""Verifiers that are cut off, stopped, lied to, and that do not know what time it is."""

import signal
import threading
import time
from collections.abc import Mapping

import httpx2

from tests.live.faults import tampering
from tests.live.faults.fault import SHORT, Fault
from tests.live.faults.stage import NO_TLS, SERVICES

_RECORDING = 2.0


class CutVerifiers(Fault):
    """A host of verifiers reaches no broker."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.link.cut()

    def heal(self) -> None:
        self.host.link.mend()


class HeldVerifiers(CutVerifiers):
    """What is sent to a host of verifiers arrives much later, all at once."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.link.hold()


class StopVerifiers(Fault):
    """SIGSTOP of a host of verifiers."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.detail = self.host.name
        self.host.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        self.host.send_signal(signal.SIGCONT)


class TamperedFeed(Fault):
    """Somebody between a broker and a host of verifiers tampers with the feed, and cannot sign."""

    def inject(self) -> None:
        self.host = self.world.host()
        chosen = self.chance.choice(tampering.PLAIN)
        self.detail = f"{self.host.name}: {chosen.__name__}"
        self._tamper(dict.fromkeys(SERVICES, chosen))

    def heal(self) -> None:
        self.host.link.mend()

    def _tamper(self, chosen: Mapping[str, tampering.Tampering]) -> None:
        self.host.link.tampering = chosen
        self.host.link.hang_up()


class ReplayedFeed(TamperedFeed):
    """An old snapshot and old messages are replayed, among true ones or instead of them."""

    def inject(self) -> None:
        self.host = self.world.host()
        self.over = threading.Event()
        old = {audience: self._record(audience) for audience in SERVICES}
        time.sleep(self.chance.uniform(*SHORT))
        if self.chance.random() < 0.5:
            self.detail = f"{self.host.name}: instead of true ones"
            self._tamper({audience: tampering.frozen(frames, self.over) for audience, frames in old.items()})
        else:
            self.detail = f"{self.host.name}: among true ones"
            self._tamper({audience: tampering.replayed(frames) for audience, frames in old.items()})

    def heal(self) -> None:
        self.over.set()
        super().heal()

    def _record(self, audience: str) -> list[bytes]:
        """Listen for two seconds, and keep every frame."""
        frames, start = [b""], time.monotonic()
        headers = {"Authorization": f"Bearer {self.world.caller.svid(f'{SERVICES[audience]}/recorder')}"}
        url = f"{self.stage.brokers[0].url}/v1/feed/stream?aud={audience}"
        with httpx2.stream("GET", url, headers=headers, timeout=5, verify=NO_TLS, trust_env=False) as answer:
            for line in answer.iter_lines():
                frames[-1] += f"{line}\n".encode()
                if not line:
                    frames.append(b"")
                if time.monotonic() - start > _RECORDING:
                    break
        return frames[:-1]


class WrongClock(Fault):
    """The clock of a host of verifiers is set wrong, by as much as the feed allows."""

    def inject(self) -> None:
        self.host = self.world.host()
        skew = self._skew()
        self.detail = f"{self.host.name} by {skew} ms"
        self.host.tell("skew", milliseconds=skew)

    def heal(self) -> None:
        self.host.tell("skew", milliseconds=0)

    def _skew(self) -> int:
        return self.chance.choice((-900, 900))


class FarWrongClock(WrongClock):
    """The clock of a host of verifiers is set wrong by more than the feed allows; they may refuse, and nothing else."""

    def _skew(self) -> int:
        return self.chance.choice((-1, 1)) * self.chance.randrange(2_000, 120_000)
