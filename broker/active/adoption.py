"""Brings one worker to the configuration in force: verified, validated again, built beside the running, then swapped.

What the thread that follows hears is only noted there, for to build takes longer than a beat; between the two the worker
issues nothing.
"""

import logging
import threading
from collections.abc import Callable

import msgspec

from broker import metrics
from broker.active import bundle as bundles
from broker.active.bundle import Bundle
from broker.active.own_files import OwnFiles
from broker.active.rules import Active, Rules
from broker.active.sources import Validated
from broker.errors import ConfigurationError
from broker.feed.activated import Activated, Mirror
from broker.keys.keys import Keys
from broker.policy import Policy
from scopes import ulid
from scopes.background import Background
from scopes.clock import Clock
from scopes.keys import TOKEN_ALGORITHMS, KeySet

_IDLE, _AGAIN = 60.0, 5.0
"""The seconds until the thread looks by itself: seldom, for it is woken; sooner where something could not be believed."""

_AT_HAND = 4
_LOG = logging.getLogger(__name__)


class Adoption:
    """What this worker knows of configurations (`feed.activated.Configurations`), and puts into force.

    `bundle` and `content` are what is in force here; `problem` is why something else is not.
    """

    def __init__(
        self,
        *,
        issuer: str,
        keys: Keys,
        active: Active,
        mirror: Mirror,
        own: OwnFiles,
        clock: Clock,
        on_swap: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to adopt; `on_swap` is called, from whatever thread, when this worker decides by something else."""
        self._issuer = issuer
        self._keys = keys
        self._active = active
        self._mirror = mirror
        self._own = own
        self._clock = clock
        self._on_swap = on_swap
        self._lock = threading.Lock()
        self._at_hand: dict[str, Validated] = {}
        self._wanted: Activated | None = None
        self._mirrored: Activated | None = None
        self.latest: Activated | None = None
        self.bundle: Bundle | None = None
        self.content: Validated | None = None
        self.problem = ""
        self._background = Background("configuration", self.step)
        if own.content is not None:
            self.keep_at_hand(own.content)

    def remember(self) -> None:
        """Know what is kept beside the keys, where a key of the feed signed it."""
        kept = self._mirror.read()
        try:
            if kept is not None:
                self._verified(kept)
                self.latest = self._mirrored = kept
        except ConfigurationError as error:
            _LOG.warning("the configuration kept beside the keys is left aside: %s", error)

    def start(self) -> None:
        """Begin to build in the background."""
        self._background.start()

    def close(self) -> None:
        """End the background thread."""
        self._background.stop()
        self._background.join()

    @property
    def in_force(self) -> str:
        """The id of what this worker decides by; empty for nothing."""
        return self._active.activation

    @property
    def digest(self) -> str:
        """The digest of what is in force here; empty for nothing."""
        return self.bundle.digest if self.bundle is not None else ""

    @property
    def is_believed(self) -> bool:
        """Tell whether a worker that starts now would believe what is in force: not where a revoked key signed it."""
        try:
            return self.latest is not None and bool(self._verified(self.latest))
        except ConfigurationError:
            return False

    def first(self) -> Activated | None:
        """Return this replica's own files, signed, for a store in which nothing ever was in force."""
        own = self._own.content
        return self.signed(own, origin="", said="the files of the first broker") if own is not None else None

    def signed(self, content: Validated, *, origin: str, by: str = "", said: str) -> Activated:
        """Sign a configuration that is to come into force, under an id above the last one's."""
        now, latest = self._clock.now().wall, self.latest
        bundle = Bundle(
            iss=self._issuer,
            id=f"evt_{ulid.above(latest.id.removeprefix('evt_') if latest is not None else '', now)}",
            origin=origin,
            digest=content.digest,
            previous=latest.digest if latest is not None else "",
            time=now,
            by=by,
            said=said,
            registry=msgspec.Raw(content.registry.canonical),
            policies=dict(content.policies.texts),
        )
        return bundles.signed(bundle, key=self._keys.feed)

    def keep_at_hand(self, content: Validated) -> None:
        """Keep what was validated here, so that it needs not be built again when it comes into force."""
        with self._lock:
            self._at_hand = dict([*self._at_hand.items(), (content.digest, content)][-_AT_HAND:])

    def heard(self, activated: Activated | None) -> None:
        """Hear which one is in force; swap at once where it is at hand, else build it in the background."""
        self._wanted = activated
        if activated is None or activated.id == self.in_force:
            self.problem = ""
        elif activated.digest in self._at_hand:
            self.adopt()
        self._background.wake()

    def step(self) -> float:
        """Swap to what was heard last, and keep it beside the keys."""
        self.adopt()
        self.mirror()
        return _AGAIN if self.problem else _IDLE

    def adopt(self) -> None:
        """Have requests decided by what was heard last; what cannot be believed or used is told in `problem`."""
        while (wanted := self._wanted) is not None and wanted.id != self.in_force:
            try:
                bundle = self._verified(wanted)
                # What is at hand was validated here, from the same bytes: that is what the digest says.
                content = self._at_hand.get(bundle.digest) or bundle.validated(self._own.objections)
            except ConfigurationError as error:
                self._refuse(wanted, error)
                return
            self._swap(wanted, bundle, content)

    def keep(self, activated: Activated) -> None:
        """Keep what this worker has put into force beside the keys; raise `OSError`."""
        self._mirror.write(activated)

    def mirror(self) -> None:
        """Keep what is in force beside the keys, flushed to disk; what cannot be written is tried again."""
        latest = self.latest
        if latest is None or latest == self._mirrored:
            return
        try:
            self._mirror.write(latest)
            self._mirrored = latest
        except OSError as error:
            _LOG.error("the configuration in force cannot be kept beside the keys: %s", error.strerror)

    def _verified(self, activated: Activated) -> Bundle:
        keys = KeySet.parse(self._keys.known_feed_jwks, algorithms=TOKEN_ALGORITHMS)
        return bundles.verified(activated, keys=keys, issuer=self._issuer)

    def _swap(self, wanted: Activated, bundle: Bundle, content: Validated) -> None:
        rules = Rules(content.registry, Policy(content.policies, content.registry, clock=self._clock), wanted.id)
        with self._lock:
            # Two threads come here, and something newer may have been heard while this one was built.
            if wanted is not self._wanted or wanted.id == self.in_force:
                return
            self._active.replace(rules)
            self.latest, self.bundle, self.content, self.problem = wanted, bundle, content, ""
        self.keep_at_hand(content)
        self._on_swap()
        metrics.show_configuration(bundle.digest, instead_of=bundle.previous)
        # The first one of all is what the files say, which is nothing to tell.
        _LOG.log(logging.INFO if bundle.previous else logging.DEBUG, "configuration %s is in force", bundle.digest)

    def _refuse(self, wanted: Activated, error: ConfigurationError) -> None:
        problem = f"{wanted.id}: {error}"
        if problem != self.problem:
            _LOG.error("nothing is issued, for what is in force cannot be used here: %s", problem)
        self.problem = problem
