"""`broker stuck`: what was to end and is not known to have ended."""

from broker.cli import output, sign_in, times
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    OperatorKey,
    OperatorName,
)
from broker.client.answers import StuckRecord


def stuck(
    *,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List what this replica was told to end and could not carry out yet, with the reason and the next try.

    Example: broker stuck
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        found = list(client.stuck())
    if as_json:
        output.document({"stuck": found})
        return
    columns = ("ID", "WHAT", "SINCE", "TRIES", "NEXT TRY", "WHY")
    output.table(columns, [_row(each) for each in found], empty="Nothing is stuck.")


def _row(record: StuckRecord) -> tuple[str, ...]:
    since, next_try = times.moment(record.since // 1000), times.moment(record.next_try // 1000)
    return record.id, record.what, since, str(record.tries), next_try, record.problem
