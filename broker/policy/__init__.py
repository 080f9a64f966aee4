"""Policy as code: one question, one decision, and which policies took it."""

from broker.policy.decision import Decision, Permit, Question
from broker.policy.policies import PolicyFolder, each, load, parse, read
from broker.policy.policy import Policy
from broker.policy.schema import schema_of

__all__ = ["Decision", "Permit", "Policy", "PolicyFolder", "Question", "each", "load", "parse", "read", "schema_of"]
