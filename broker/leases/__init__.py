"""Leases: what is out, for whom, for which task, until when, and how it ended."""

from broker.leases.leases import Leases, Limits, NewLease, TaskClosed
from broker.leases.records import Lease, LeaseRecord, Times

__all__ = ["Lease", "LeaseRecord", "Leases", "Limits", "NewLease", "TaskClosed", "Times"]
