"""The configuration in force: read, validated, signed, put into force, and told to whoever decides."""

from broker.active.rules import Active, Rules

__all__ = ["Active", "Rules"]
