"""`broker key`: the broker's own keys, which sign tokens and the feed."""

from pathlib import Path
from typing import Annotated

import typer

from broker import settings as settings_file
from broker import toml_file
from broker.cli import output, sign_in, times
from broker.cli.options import (
    DEFAULT_BROKER,
    DEFAULT_CONFIG,
    DEFAULT_OPERATOR,
    DEFAULT_OPERATOR_KEY,
    AsJson,
    Broker,
    Config,
    OperatorKey,
    OperatorName,
    Reason,
)
from broker.client.answers import BrokerKey
from broker.errors import ConfigurationError
from broker.keys import KeyFolder

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command("list")
def list_keys(
    *,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """List the broker's keys: what each signs, where it stands in its life, what comes next and when, and where it is kept.

    Example: broker key list --broker https://broker.example.com
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        listed = client.keys()
    if as_json:
        output.document(listed)
        return
    rows = [(key.kid, key.use, key.state, _made(key, listed.time), _next(key, listed.time), key.kept) for key in listed.keys]
    output.table(("KEY", "SIGNS", "STATE", "MADE", "NEXT", "KEPT IN"), rows, empty="The broker has no keys.")


@app.command()
def rotate(
    *,
    reason: Reason,
    feed: Annotated[
        bool, typer.Option("--feed", help="The key that signs the feed, instead of the one that signs tokens.")
    ] = False,
    now: Annotated[
        bool,
        typer.Option("--now", help="Sign with the next key at once. Verifiers refuse its tokens until they have fetched it."),
    ] = False,
    revoke: Annotated[
        str | None, typer.Option(metavar="KEY", help="Replace this key at once, and end every token it signed.")
    ] = None,
    operator: OperatorName = DEFAULT_OPERATOR,
    operator_key: OperatorKey = DEFAULT_OPERATOR_KEY,
    broker: Broker = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Prepare the next key; it signs when every verifier has had the time to fetch it.

    Example: broker key rotate --reason "a laptop with a copy was lost"
    """
    with sign_in.operator(broker, operator, operator_key) as client:
        done = client.rotate_key("feed" if feed else "token", now=now, revoke=revoke, reason=reason)
    if as_json:
        output.document(done)
        return
    signs = (
        "signs now"
        if done.key.state == "active"
        else f"is published, and signs from {times.moment(done.key.activates // 1000)}"
    )
    output.text(f"{done.key.kid} {signs}.")
    if done.revocation is not None:
        output.say(f"{revoke} is revoked ({done.revocation}): every token it signed is refused, whatever it says.")


@app.command()
def passphrase(
    *,
    config: Config = DEFAULT_CONFIG,
    new: Annotated[Path, typer.Option("--new", metavar="FILE", help="File with the new passphrase.")],
    as_json: AsJson = False,
) -> None:
    """Put the keys under another passphrase. The old one is the one the settings name; change it there afterwards.

    Works on the key folder of this machine, while brokers run too: what it wraps stays as it is.
    Example: broker key passphrase --new /run/secrets/new-passphrase
    """
    settings = settings_file.load(config)
    folder = KeyFolder.load(settings.path(settings.keys), settings_file.key_passphrase(settings))
    text = toml_file.text_of(new).rstrip("\r\n")
    if not text:
        raise ConfigurationError([f"{new}: empty"])
    folder.lock(text.encode())
    if as_json:
        output.document({"changed": True})
        return
    output.text("The keys are under the new passphrase: set key_passphrase_file or BROKER_KEY_PASSPHRASE to it.")


def _made(key: BrokerKey, now: int) -> str:
    return times.distance((key.prepared - now) // 1000)


def _next(key: BrokerKey, now: int) -> str:
    moments = (("signs", key.activates), ("retires", key.retires), ("is forgotten", key.forgets))
    coming = [f"{what} {times.distance((when - now) // 1000)}" for what, when in moments if when is not None and when > now]
    return coming[0] if coming else "when it is rotated"
