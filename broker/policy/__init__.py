"""Policy as code: one question, one decision, and which policies took it."""

from broker.policy.decision import Decision, Permit, PolicyRefusal, Question
from broker.policy.facts import Facts, Moment, Seen
from broker.policy.policies import PolicyFolder, each, load, parse, read
from broker.policy.policy import Policy
from broker.policy.schema import schema_of

__all__ = [
    "Decision",
    "Facts",
    "Moment",
    "Permit",
    "Policy",
    "PolicyFolder",
    "PolicyRefusal",
    "Question",
    "Seen",
    "each",
    "load",
    "parse",
    "read",
    "schema_of",
]
