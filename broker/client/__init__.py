"""The library of agents and operators: an island beside `scopes`, which needs nothing of the broker but its address."""

from broker.client.agent import Agent, Task
from broker.client.certificate import ClientCertificate
from broker.client.errors import (
    Busy,
    ClientError,
    Misconfigured,
    NotAuthenticated,
    NotFound,
    Refused,
    UnexpectedAnswer,
    Unreachable,
)
from broker.client.operator import Operator, Selector
from broker.client.published import Published
from broker.client.tokens import Token

__all__ = [
    "Agent",
    "Busy",
    "ClientCertificate",
    "ClientError",
    "Misconfigured",
    "NotAuthenticated",
    "NotFound",
    "Operator",
    "Published",
    "Refused",
    "Selector",
    "Task",
    "Token",
    "UnexpectedAnswer",
    "Unreachable",
]
