"""What has ended, as a worker knows it, as a verifier is told it, and as the store keeps it."""

from broker.issuer import Issued
from scopes import claims as token_claims
from scopes import jose, revocations
from scopes.claims import TOKEN_TYPE
from scopes.keys import TOKEN_ALGORITHMS, KeySet
from scopes.revocations import Event, revocable
from tests.broker.world import ISSUER, World


def is_ended(world: World, issued: Issued) -> bool:
    """Tell whether a worker that has followed knows the token's end."""
    world.follow()
    claims, scope = token_claims.decode(jose.read(issued.access_token, types=frozenset({TOKEN_TYPE})).unverified_payload)
    picture = world.broker.streams.picture
    ended = picture.ended_by(revocable(claims, scope, world.broker.keys.token.kid)) is not None
    return ended or claims.lease.epoch < picture.epoch


def told(world: World, audience: str) -> list[Event]:
    """Return what a verifier of the audience is told."""
    world.follow()
    keys = KeySet.parse(world.broker.keys.feed_jwks, algorithms=TOKEN_ALGORITHMS)
    text = world.broker.streams.snapshot(audience)
    return list(revocations.read_snapshot(text, keys=keys, issuer=ISSUER, audience=audience).events)


async def status_of(world: World, issued: Issued) -> str:
    return (await world.broker.leases.find(issued.lease_id, world.broker.streams.picture)).status
