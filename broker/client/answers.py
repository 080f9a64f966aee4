"""What the broker answers, as frozen types. A member that is not known is skipped, so that an older client still works."""

import datetime
from typing import Any

import msgspec


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Metadata(_Answer, frozen=True):
    """What is needed of the server metadata (RFC 8414 §2)."""

    issuer: str


class KeySetAnswer(_Answer, frozen=True):
    """A JWKS (RFC 7517 §5)."""

    keys: tuple[dict[str, Any], ...]


class Issued(_Answer, frozen=True):
    """A token response (RFC 6749 §5.1) with the lease and task behind it. `expires_in` is seconds."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    lease_id: str
    task_id: str


class TaskRecord(_Answer, frozen=True):
    """A declared task. Times are seconds."""

    id: str
    agent: str
    workload: str
    type: str
    purpose: str
    status: str
    created: int
    ends: int
    path: tuple[str, ...]
    resources: tuple[str, ...] | None = None
    user: str | None = None


class TaskPage(_Answer, frozen=True):
    """Some open tasks, and where to go on."""

    tasks: tuple[TaskRecord, ...]
    cursor: str | None = None


class LeaseRecord(_Answer, frozen=True):
    """A lease, never its token. Times are seconds."""

    id: str
    agent: str
    workload: str
    task: str
    path: tuple[str, ...]
    scope: str
    level: str
    status: str
    issued: int
    expires: int
    epoch: str
    position: int
    instance: str | None = None
    class_: str | None = msgspec.field(name="class", default=None)
    user: str | None = None


class LeasePage(_Answer, frozen=True):
    """Some leases, and where to go on."""

    leases: tuple[LeaseRecord, ...]
    cursor: str | None = None


class AgentRecord(_Answer, frozen=True):
    """An agent as registered, and where it stands. `missing` names what its record lacks to be active.

    `reduced` is how far its access is reduced by itself; others may be on an instance, a service, or everything.
    `suspended_instances` are suspended without the rest of it.
    """

    name: str
    status: str
    missing: tuple[str, ...]
    owner: str
    purpose: str
    environment: str
    workloads: tuple[str, ...]
    tasks: tuple[str, ...]
    ends: datetime.date | None = None
    review_by: datetime.date | None = None
    review_overdue: bool = False
    reduced: str | None = None
    suspended_instances: tuple[str, ...] = ()
    live_leases: int | None = None


class AgentPage(_Answer, frozen=True):
    """Some agents, and where to go on."""

    agents: tuple[AgentRecord, ...]
    cursor: str | None = None


class Committed(_Answer, frozen=True):
    """What was committed to the log, and its place in it."""

    id: str
    epoch: str
    seq: int


class Revoked(Committed, frozen=True):
    """A committed revocation. `matched` counts what it ended where that is known."""

    matched: int | None = None


class AgentChange(Committed, frozen=True):
    """A committed suspension, resumption or retirement. `was` is what stood before, `active` where nothing did."""

    status: str
    was: str


class Reduced(Committed, frozen=True):
    """A committed reduction, or the end of one."""


class BrokerKey(_Answer, frozen=True):
    """One of the broker's own keys. Times are milliseconds; `retires` and `forgets` are known once another follows it."""

    kid: str
    use: str
    alg: str
    kept: str
    state: str
    prepared: int
    activates: int
    retires: int | None = None
    forgets: int | None = None


class KeyList(_Answer, frozen=True):
    """The broker's own keys, and the time by which their states are told."""

    time: int
    keys: tuple[BrokerKey, ...]


class KeyRotated(_Answer, frozen=True):
    """The key that signs, or will; `revocation` is the id of what ended the tokens of a revoked one."""

    key: BrokerKey
    revocation: str | None = None


class ReductionRecord(_Answer, frozen=True):
    """A reduction in force. `said` is what an operator wrote."""

    id: str
    selector: dict[str, str | bool]
    to: str
    by: str
    said: str
    epoch: str
    seq: int


class ReductionPage(_Answer, frozen=True):
    """Some reductions, and where to go on."""

    reductions: tuple[ReductionRecord, ...]
    cursor: str | None = None


class StuckRecord(_Answer, frozen=True):
    """What was to end and is not known to have ended. Times are milliseconds."""

    id: str
    what: str
    problem: str
    tries: int
    since: int
    next_try: int


class StuckPage(_Answer, frozen=True):
    """What is stuck, and where to go on."""

    stuck: tuple[StuckRecord, ...]
    cursor: str | None = None


class AffectedVerifier(_Answer, frozen=True):
    """How far a verifier process has come with a revocation: `state` is `enforced`, `fenced` or `open`.

    `delay_ms` is from commit to acknowledgement, where that is known; `fenced_at` is milliseconds. Without a `process` it
    stands for all of the service that are not known.
    """

    service: str
    audience: str
    state: str
    workload: str | None = None
    process: str | None = None
    authenticated: bool = False
    version: str | None = None
    delay_ms: int | None = None
    fenced_at: int | None = None


class RevocationRecord(_Answer, frozen=True):
    """How far a revocation has come. `committed` is milliseconds by the store's clock."""

    id: str
    epoch: str
    seq: int
    kind: str
    value: str
    committed: int
    verifiers: tuple[AffectedVerifier, ...]


class VerifierRecord(_Answer, frozen=True):
    """A verifier process. `lag` is how many numbers it is behind the head, in this epoch; times are milliseconds.

    `enforces` are the constraints that it holds tokens to.
    """

    service: str
    audience: str
    workload: str
    process: str
    authenticated: bool
    version: str
    epoch: str
    seq: int
    heard_ms: int
    enforces: tuple[str, ...] = ()
    lag: int | None = None
    age_ms: int | None = None


class VerifierList(_Answer, frozen=True):
    """The verifier processes that were heard of lately, and the head of the log."""

    epoch: str
    seq: int
    verifiers: tuple[VerifierRecord, ...]


class Change(_Answer, frozen=True):
    """What a configuration changes: a record or policy, and whether it is `added`, `removed` or `changed`."""

    what: str
    name: str
    how: str


class ActivationRecord(_Answer, frozen=True):
    """What came of an activation; without a place where it was only tried."""

    digest: str
    new: bool
    changes: tuple[Change, ...]
    epoch: str | None = None
    seq: int | None = None


class WorkerRecord(_Answer, frozen=True):
    """A worker of any replica; `state` is `current`, `behind` or `silent`."""

    id: str
    silent_ms: int
    state: str


class ConfigurationRecord(_Answer, frozen=True):
    """What is in force, and how the worker that was asked stands to it. `since` is milliseconds."""

    digest: str | None
    files: str
    file_problems: tuple[str, ...]
    problem: str
    workers: tuple[WorkerRecord, ...]
    id: str | None = None
    epoch: str | None = None
    seq: int | None = None
    since: int | None = None
    by: str | None = None
    said: str | None = None


class AuditRecord(_Answer, frozen=True, omit_defaults=True):
    """One audit record. `time` is milliseconds; `said` is what somebody wrote, and not to be believed.

    `seen` are the facts that policies saw, with the moment; `shadow` those in shadow mode that would have turned the answer.
    """

    cursor: str
    time: int
    kind: str
    id: str = ""
    agent: str | None = None
    workload: str | None = None
    operator: str | None = None
    instance: str | None = None
    user: str | None = None
    task: str | None = None
    lease: str | None = None
    scope: str | None = None
    use: str | None = None
    reason: str | None = None
    policies: tuple[str, ...] = ()
    policy_version: str | None = None
    previous: str | None = None
    epoch: str | None = None
    position: int | None = None
    selector: str | None = None
    said: str | None = None
    shadow: tuple[str, ...] = ()
    seen: dict[str, Any] | None = None


class AuditPage(_Answer, frozen=True):
    """Some records, oldest first, and where to go on; the cursor stays at the end."""

    events: tuple[AuditRecord, ...]
    cursor: str | None = None


class Problem(_Answer, frozen=True):
    """A refusal in either of its two forms: RFC 6749 §5.2 from `/oauth/…`, RFC 9457 from the rest."""

    code: str = ""
    detail: str = ""
    error: str = ""
    error_description: str = ""
    reason: str = ""
    policies: tuple[str, ...] = ()
