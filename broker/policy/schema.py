"""The Cedar schema of a registry: every action of the catalogue by name, in the group of its level."""

import re

from broker.policy.facts import action_name
from broker.registry.registry import Registry
from scopes.levels import LEVELS

_ENTITIES = """\
// Whoever asks.
entity Agent { owner: String, environment: String, trust_domain: String };
entity Operator { roles: Set<String> };
entity Service { environment: String };

// What is asked for.
entity Record { service: String, type: String, environment: String, data_classes: Set<String>, untrusted: Bool };
entity Task { agent: Agent };
entity Feed { service: Service };
entity Tokens { service: Service };
entity Fleet;

// What policies see of a request for a token. `ttl`, `age` and `recent_refusals` are rounded up to a band; `proof` is "none",
// "dpop" or "mtls"; `identity_source` is "jwt-svid", "x509-svid", "oidc" or "private-key"; `hour` and `weekday` (1 is Monday)
// are in UTC. `user` is there where the task is done for one.
type TaskContext = {
  type: String,
  purpose_class: String,
  depth: Long,
  age: Long,
  tainted: Bool,
  labels: Set<String>,
  read_sensitive: Bool,
};
type UserContext = { id: String, groups: Set<String> };
type TokenContext = {
  task: TaskContext,
  user?: UserContext,
  fields: Set<String>,
  data_classes: Set<String>,
  sensitive: Bool,
  office_hours: Bool,
  level: String,
  reversible: Bool,
  external: Bool,
  ttl: Long,
  proof: String,
  approved: Bool,
  identity_source: String,
  hour: Long,
  weekday: Long,
  reductions: Set<String>,
  recent_refusals: Long,
};
"""

ATTRIBUTES = frozenset(re.findall(r"(\w+)\??: ", _ENTITIES))
"""Every attribute that there is."""

RECORDS = ("task", "user")
"""Those that are records themselves."""

_OPERATIONS = """\
// What operators, services and agents do with the broker itself.
action "watch", "revoke", "reduce", "restore", "audit:read" appliesTo { principal: [Operator], resource: [Fleet] };
action "agent:suspend", "agent:resume", "agent:retire" appliesTo { principal: [Operator], resource: [Fleet] };
action "configuration:activate" appliesTo { principal: [Operator], resource: [Fleet] };
action "keys:list", "keys:rotate" appliesTo { principal: [Operator], resource: [Fleet] };
action "task:show", "task:end" appliesTo { principal: [Agent, Operator], resource: [Task] };
action "feed:follow" appliesTo { principal: [Service, Operator], resource: [Feed] };
action "token:introspect", "token:consume" appliesTo { principal: [Service], resource: [Tokens] };
"""


def schema_of(registry: Registry) -> str:
    """Write the schema in Cedar's own notation."""
    levels = "// The four levels; every action of the catalogue is in one.\n" + "".join(
        f'action "{level}";\n' for level in LEVELS
    )
    return "\n".join((_ENTITIES, levels, _catalogue(registry), _OPERATIONS))


def _catalogue(registry: Registry) -> str:
    lines, used = ["// The catalogue."], set()
    for service_name, service in sorted(registry.content.services.items()):
        for type, resource in sorted(service.resources.items()):
            for action, entry in sorted(resource.actions.items()):
                lines.append(_action(action_name(service_name, type, action), entry.level))
                used.add(entry.level)
    # A policy for a level is none that is misspelt where the catalogue has no action of that level yet.
    lines += [_action(f"no {level}", level) for level in LEVELS if level not in used]
    return "\n".join(lines) + "\n"


def _action(name: str, level: str) -> str:
    return f'action "{name}" in ["{level}"] appliesTo {{ principal: [Agent], resource: [Record], context: TokenContext }};'
