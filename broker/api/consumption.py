"""`POST /v1/leases/consume`: a service has a use of a token counted before it makes it."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.di import NamedDependency

from broker.api import bodies
from broker.api.presented import presented
from broker.callers import Callers
from broker.consumption import Consumption
from broker.errors import InvalidRequest
from scopes import ulid


class UseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token, and the service's own id of what it is about to do."""

    token: str
    use: str


@post("/v1/leases/consume", status_code=200)
async def consume(
    request: Request[Any, Any, Any], callers: NamedDependency[Callers], consumption: NamedDependency[Consumption]
) -> dict[str, str]:
    """Count a use; the answer names what was counted, so that nothing else is taken for it."""
    workload = await callers.workload(presented(request))
    asked = await bodies.read(request, UseRequest)
    if not ulid.is_id(asked.use, ""):
        raise InvalidRequest("use has to be a ULID of your choice, the same where you ask again")
    return {"lease": await consumption(workload, asked.token, asked.use), "use": asked.use}
