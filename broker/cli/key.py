"""`broker key`: look at the keys that verify tokens and the feed."""

import typer

from broker.cli import output
from broker.cli.options import DEFAULT_BROKER, AsJson, Broker
from broker.client import Published

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def key() -> None:
    """Make a group of what would otherwise be one command."""


@app.command("list")
def list_keys(*, broker: Broker = DEFAULT_BROKER, as_json: AsJson = False) -> None:
    """List the public keys of a broker; anyone may see them.

    Example: broker key list --broker https://broker.example.com
    """
    with Published(broker) as published:
        keys = {"tokens": published.token_keys(), "feed": published.feed_keys()}
    if as_json:
        output.document(keys)
        return
    rows = [(jwk.get("kid", ""), jwk.get("alg", ""), signs) for signs, jwks in keys.items() for jwk in jwks]
    output.table(("KEY", "ALGORITHM", "SIGNS"), rows, empty="The broker publishes no keys.")
