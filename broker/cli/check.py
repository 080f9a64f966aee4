"""`broker check`: the whole configuration, read as `serve` reads it."""

from urllib.parse import urlsplit

import typer

from broker import app
from broker import settings as settings_file
from broker.app import Configuration
from broker.cli import output, refusals, times
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.errors import ConfigurationError
from broker.keys import Use
from broker.settings import Settings


def check(*, config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check settings, registry, policies and keys as a whole, and print every problem by file and key.

    Changes nothing and asks nobody; ends with 1 if there is a problem.
    Example: broker check --config /etc/agent-broker/broker.toml
    """
    try:
        configuration = app.configure(settings_file.load(config))
    except ConfigurationError as error:
        if as_json:
            output.document({"valid": False, "problems": error.problems})
        else:
            refusals.problems(error)
        raise typer.Exit(refusals.REFUSED if config.exists() else refusals.USAGE) from None
    if as_json:
        output.document({"valid": True, "problems": [], **counts(configuration)})
        return
    output.text(f"{config} is fine.")
    output.fields({name.replace("_", " "): str(value) for name, value in counts(configuration).items()})


def counts(configuration: Configuration) -> dict[str, str | int]:
    """Say what is loaded."""
    content, settings = configuration.registry.content, configuration.settings
    return {
        "issuer": settings.issuer,
        "store": store_of(settings),
        "agents": len(content.agents),
        "services": len(content.services),
        "task_types": len(content.tasks),
        "operators": len(content.operators),
        "policies": len(configuration.policies.ids),
        "trust_domains": ", ".join(domain.name for domain in configuration.trust_domains),
        "token_key": _signing(configuration, "token"),
        "feed_key": _signing(configuration, "feed"),
    }


def _signing(configuration: Configuration, use: Use) -> str:
    """Name the key that signs as far as the folder knows."""
    key = configuration.keys.record.signing(use, times.now() * 1000)
    return key.kid if key is not None else "none"


def store_of(settings: Settings) -> str:
    """Name the store, never with the password that its URL may hold."""
    if settings.redis_url is None:
        return "embedded"
    parts = urlsplit(settings.redis_url)
    return f"redis at {parts.netloc.rpartition('@')[2] or parts.path}"
