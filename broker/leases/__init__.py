"""Leases: what is out, for whom, for which task, until when, and how it ended."""

from broker.leases.classes import DecisionClass
from broker.leases.leases import AgentEnded, LeaseEnded, Leases, LiveClass, NewLease, NewUse, TaskClosed, Written
from broker.leases.records import Lease, LeaseRecord, Mark, Settled, Times
from broker.leases.volume import Volume

__all__ = [
    "AgentEnded",
    "DecisionClass",
    "Lease",
    "LeaseEnded",
    "LeaseRecord",
    "Leases",
    "LiveClass",
    "Mark",
    "NewLease",
    "NewUse",
    "Settled",
    "TaskClosed",
    "Times",
    "Volume",
    "Written",
]
