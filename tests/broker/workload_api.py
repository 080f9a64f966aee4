"""A Workload API over a Unix socket, as an agent of SPIRE serves it: bundles that are pushed, JWT-SVIDs on request."""

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from spiffe._proto import workload_pb2 as messages
from spiffe._proto import workload_pb2_grpc as service

from scopes.clock import Clock, SystemClock
from scopes.keys import SigningKey
from tests.scopes.certificates import Made, authority
from tests.scopes.tokens import compact

_STREAMS = 24
"""How many streams can be open at once: two for each client, with many to spare."""


class WorkloadApi(service.SpiffeWorkloadAPIServicer):
    """Serves until closed. Whoever is connected may have an SVID of `workload`, as on a machine with one workload."""

    def __init__(self, trust_domain: str, workload: str, key: SigningKey, *, clock: Clock | None = None) -> None:
        # Not in the folder of a test: the path of a socket has about a hundred letters.
        self.folder = Path(tempfile.mkdtemp(prefix="wl"))
        self.address = f"unix://{self.folder}/api.sock"
        self.trust_domain, self.workload = trust_domain, workload
        self.signing = key
        self.jwt: dict[str, list[Any]] = {trust_domain: [jwk_of(key)]}
        self.x509: dict[str, tuple[Made, ...]] = {trust_domain: (authority(trust_domain),)}
        self.refusal: grpc.StatusCode | None = None
        self.asked = 0
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._version = 0
        self._closing = False
        self._server: Any = None
        self.open()

    def open(self) -> None:
        """Listen, again if it was closed."""
        self._closing = False
        self._server = grpc.server(ThreadPoolExecutor(_STREAMS))
        service.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self._server.add_insecure_port(self.address)
        self._server.start()

    def leave(self) -> None:
        """End every stream and listen no more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._server.stop(0).wait(5)

    def close(self) -> None:
        self.leave()
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, *keys: SigningKey, **more: Any) -> None:
        """Replace the JWT authorities of the domain, and push them; `more` are documents of other domains."""
        self.jwt = {self.trust_domain: [jwk_of(key) for key in keys], **more}
        self.push()

    def push(self) -> None:
        """Say everything anew on every stream."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def svid(self, audience: str, *, key: SigningKey | None = None) -> str:
        """Sign an SVID, with the key that signs now where no other is given."""
        signing, now = key or self.signing, self._clock.now().wall // 1000
        claims = {"sub": self.workload, "aud": [audience], "iat": now, "exp": now + 300}
        return compact({"alg": signing.alg, "typ": "JWT", "kid": signing.kid}, claims, signing)

    def FetchJWTSVID(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the standard
        self._check(context)
        svid = messages.JWTSVID(spiffe_id=self.workload, svid=self.svid(request.audience[0]))
        return messages.JWTSVIDResponse(svids=[svid])

    def FetchJWTBundles(self, _: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for _version in self._versions(context):
            self.asked += 1
            documents = {name: json.dumps({"keys": keys}).encode() for name, keys in self.jwt.items()}
            yield messages.JWTBundlesResponse(bundles=documents)

    def FetchX509Bundles(self, _: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        for _version in self._versions(context):
            certificates = {name: b"".join(made.der for made in authorities) for name, authorities in self.x509.items()}
            yield messages.X509BundlesResponse(bundles=certificates)

    def _check(self, context: Any) -> None:
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the security header is missing (Workload API §6.2)")
        if self.refusal is not None:
            context.abort(self.refusal, "no identity issued")

    def _versions(self, context: Any) -> Iterator[int]:
        self._check(context)
        context.add_callback(self._wake)
        said = -1
        while context.is_active() and not self._closing:
            if said != self._version:
                said = self._version
                yield said
            with self._changed:
                self._changed.wait_for(lambda: self._closing or said != self._version or not context.is_active(), timeout=1)  # noqa: B023

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def jwk_of(key: SigningKey) -> dict[str, Any]:
    """Write an authority as SPIRE does here: without `use`, for the method says what it is for."""
    return {name: value for name, value in key.public_jwk.items() if name not in ("use", "alg")}
