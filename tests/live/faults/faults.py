"""Every fault there is, by its name."""

from tests.live.faults import broker_faults, redis_faults, verifier_faults
from tests.live.faults.fault import Fault

ALL: tuple[type[Fault], ...] = (
    broker_faults.KillWorker,
    broker_faults.KillBroker,
    broker_faults.StopWorker,
    broker_faults.StumblingWorker,
    broker_faults.StopBeforeSigning,
    redis_faults.KillRedis,
    redis_faults.OldSnapshot,
    redis_faults.LoseHost,
    redis_faults.StopRedis,
    redis_faults.FlushAll,
    redis_faults.FullRedis,
    redis_faults.ReadOnlyRedis,
    redis_faults.LostReplica,
    redis_faults.FailOver,
    redis_faults.IsolatedMaster,
    verifier_faults.CutVerifiers,
    verifier_faults.HeldVerifiers,
    verifier_faults.StopVerifiers,
    broker_faults.CutBroker,
    broker_faults.HeldBroker,
    broker_faults.LostAnswers,
    broker_faults.SlowRedis,
    verifier_faults.TamperedFeed,
    verifier_faults.ReplayedFeed,
    verifier_faults.WrongClock,
    verifier_faults.FarWrongClock,
)
NAMED = {fault.name(): fault for fault in ALL}
