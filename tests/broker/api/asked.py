"""How a request for a token asks by `authorization_details`."""

import json
from typing import Any

from tests.broker.world import CRM


def details(**changes: Any) -> str:
    """Ask by `authorization_details`; `None` takes a member out."""
    good = {
        "type": "agent_broker_scope",
        "locations": [CRM],
        "identifier": "crm:ticket/4711",
        "actions": ["read"],
        "datatypes": ["subject"],
    }
    return json.dumps([{name: value for name, value in (good | changes).items() if value is not None}])


def by_details(**changes: Any) -> dict[str, str | None]:
    """Change a request so that it asks by details instead of by scope."""
    return {"scope": None, "authorization_details": details(**changes)}
