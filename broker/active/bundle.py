"""A configuration as it goes to all workers: signed by the feed's key, under a type of its own, and verified by each."""

import msgspec

from broker.active import sources
from broker.active.sources import Objections, Validated
from broker.errors import ConfigurationError
from broker.feed.activated import Activated
from scopes import jose, strict_json
from scopes.errors import InvalidDocument
from scopes.keys import KeySet, Signer

BUNDLE_TYPE = "configuration+jwt"

MAX_BUNDLE = 16 * 1024 * 1024
"""The bytes of a signed bundle: four times those of the files that may be sent, for the canonical form writes defaults out."""


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed. `time` is milliseconds; `previous` is the digest of what it replaced; `by` an operator, or empty.

    `origin` is the epoch in which it was wanted, as in `Activated`.

    `registry` is the canonical form of its content; `policies` are the texts of the files by name.
    """

    iss: str
    id: str
    origin: str
    digest: str
    previous: str
    time: int
    by: str
    said: str
    registry: msgspec.Raw
    policies: dict[str, str]

    def validated(self, objections: Objections) -> Validated:
        """Validate the content; raise `ConfigurationError` with every problem found."""
        content = sources.restored(bytes(self.registry), self.policies, objections)
        if content.digest != self.digest:
            raise ConfigurationError(["the configuration in the store is not believed: its digest is another"])
        return content


def signed(bundle: Bundle, *, key: Signer) -> Activated:
    """Sign a bundle."""
    text = jose.write(msgspec.json.encode(bundle), type=BUNDLE_TYPE, key=key)
    return Activated(id=bundle.id, origin=bundle.origin, digest=bundle.digest, text=text)


def verified(activated: Activated, *, keys: KeySet, issuer: str) -> Bundle:
    """Return the bundle; raise `ConfigurationError` unless a key of the feed signed it, for this issuer, as what it is kept as.

    Its content is not validated yet.
    """
    try:
        jws = jose.read(activated.text, types=frozenset({BUNDLE_TYPE}), max_bytes=MAX_BUNDLE)
        bundle = strict_json.decode(jws.verified_payload(keys), type=Bundle, max_bytes=MAX_BUNDLE)
    except InvalidDocument as error:
        raise ConfigurationError([f"the configuration in the store is not believed: {error}"]) from None
    kept = (activated.id, activated.origin, activated.digest)
    if bundle.iss != issuer or (bundle.id, bundle.origin, bundle.digest) != kept:
        raise ConfigurationError(["the configuration in the store is not believed: it was signed as another"])
    return bundle
