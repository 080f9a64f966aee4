"""Leases: what is out, for whom, for which task, until when, and how it ended."""

from broker.leases.leases import AgentEnded, LeaseEnded, Leases, Limits, NewLease, NewUse, TaskClosed, Written
from broker.leases.records import Lease, LeaseRecord, Mark, Settled, Times

__all__ = [
    "AgentEnded",
    "Lease",
    "LeaseEnded",
    "LeaseRecord",
    "Leases",
    "Limits",
    "Mark",
    "NewLease",
    "NewUse",
    "Settled",
    "TaskClosed",
    "Times",
    "Written",
]
