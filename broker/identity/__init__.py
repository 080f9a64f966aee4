"""Who is calling: assertions that nobody has checked become workloads."""

from broker.identity.spiffe import JwtSvids, TrustDomain
from broker.identity.workload import Workload

__all__ = ["JwtSvids", "TrustDomain", "Workload"]
