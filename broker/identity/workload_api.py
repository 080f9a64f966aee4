"""A trust domain's bundle from the Workload API of the machine (SPIFFE Workload API §5, §6), over its Unix socket."""

import importlib.util
from typing import TYPE_CHECKING

from broker.errors import ConfigurationError, FetchFailed
from broker.identity.bundle import UNKNOWN, Bundle
from broker.identity.held_bundle import HeldBundle
from broker.identity.refreshed import Refreshed
from scopes.clock import Clock

if TYPE_CHECKING:
    from broker.identity.workload_api_reader import Reader

INTERVAL = 30.0
"""The seconds between two readings when nothing was pushed: a neighbour on this machine is asked at little cost."""

MIN_INTERVAL = 1.0
"""The least seconds between two readings, whoever asks."""

_SCHEME = "unix:///"


class WorkloadApi(HeldBundle):
    """Holds what the Workload API says of one trust domain, its own or a federated one; of the others nothing is taken.

    It is read when it pushes a change, and again and again, so that it shows when nobody is there any more.
    """

    def __init__(self, trust_domain: str, address: str, *, clock: Clock) -> None:
        """Prepare to follow it; raise `ConfigurationError` for another kind of address, or without the `spiffe` package."""
        if not address.startswith(_SCHEME) or len(address) == len(_SCHEME):
            raise ConfigurationError([f"workload_api of {trust_domain}: has to be {_SCHEME}PATH"])
        if importlib.util.find_spec("spiffe") is None:
            raise ConfigurationError(
                [f"workload_api of {trust_domain}: needs the spiffe package: pip install 'agent-broker[spiffe]'"]
            )
        self._trust_domain = trust_domain
        self._address = address
        self._reader: Reader | None = None
        self._document = b""
        self._newest = UNKNOWN
        held = Refreshed(
            f"bundle of {trust_domain}", self._fetch, clock=clock, interval=lambda _: INTERVAL, min_interval=MIN_INTERVAL
        )
        super().__init__(f"Workload API {address}", held)

    def close(self) -> None:
        """End following it."""
        super().close()
        self._disconnect()

    def _fetch(self) -> Bundle:
        try:
            document = self._connected().read()
        except FetchFailed:
            # With the connection, or its own long pauses after failures would go on although somebody is there again.
            self._disconnect()
            raise
        if document != self._document:
            self._newest, self._document = Bundle.parse(document), document
        return self._newest

    def _connected(self) -> "Reader":
        # Here, for an installation without such a source has neither the package nor gRPC.
        from broker.identity.workload_api_reader import Reader  # noqa: PLC0415

        if self._reader is None:
            self._reader = Reader(self._trust_domain, self._address, on_change=self.wake)
        return self._reader

    def _disconnect(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
