"""`broker serve`: everything is checked before anything listens."""

from broker.cli import counting  # noqa: F401 - before all that counts

# isort: split
import contextlib
import functools
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server

from broker import app
from broker import settings as settings_file
from broker.app import Configuration
from broker.cli import logs, output
from broker.cli.check import counts, store_of
from broker.cli.options import DEFAULT_CONFIG, AsJson, Config
from broker.errors import ConfigurationError, Unavailable
from broker.settings import Settings
from broker.store import preconditions

STOP_TIMEOUT = 5
"""The seconds a worker has to finish what it is doing."""

# Long enough for the workers to have been started: a process with a thread at work is better not copied.
_POLL = 0.1


def serve(
    *,
    config: Config = DEFAULT_CONFIG,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="How many processes; more than one needs a redis_url.")] = 1,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Listen here instead of where the settings say.")
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="What to log.")] = "info",
    as_json: AsJson = False,
) -> None:
    """Run the broker until it is told to stop (Ctrl-C, or SIGTERM).

    Everything is checked before it listens: a configuration with a problem ends it with 2, and every problem is named.
    Example: broker serve --config /etc/agent-broker/broker.toml --workers 2
    """
    if listen is not None:
        os.environ[f"{settings_file.PREFIX}LISTEN"] = listen
    # The workers read the same settings, from the same place, whatever their working directory.
    os.environ[settings_file.CONFIG_VARIABLE] = str(config.resolve())
    configuration = app.configure(settings_file.load(config))
    settings = configuration.settings
    _check_store(settings, workers)
    _check_address("listen", settings.address)
    if settings.mtls_address is not None:
        _check_address("mtls_listen", settings.mtls_address)
    server = _server(settings, workers, log_level)
    server.on_startup(lambda: _announce(configuration, workers, as_json=as_json))
    server.serve()


def _check_store(settings: Settings, workers: int) -> None:
    if settings.redis_url is None:
        if workers > 1:
            raise ConfigurationError(["--workers: the embedded store is inside one process; set redis_url to run several"])
        app.check_free(settings)
        output.say(
            "Without a redis_url nothing is kept, and one process is the limit: its tasks, leases and audit end with it."
        )
        return
    try:
        preconditions.check(settings.redis_url)
    except Unavailable as error:
        output.say(f"warning: {error}")


def _check_address(setting: str, address: tuple[str, int]) -> None:
    # Workers share their port (SO_REUSEPORT), so a second broker would not fail there: it would take half of the requests.
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigurationError([f"{setting}: cannot listen on {address[0]}:{address[1]}: {error.strerror}"]) from None


def _server(settings: Settings, workers: int, log_level: str) -> Any:
    host, port = settings.address
    try:
        return Server(
            "broker.app:create",
            factory=True,
            interface=Interfaces.ASGI,
            address=host,
            port=port,
            workers=workers,
            websockets=False,
            log_level=LogLevels.info if log_level == "debug" else LogLevels.warning,
            log_dictconfig=logs.configuration(log_level),
            # A worker that died comes back; an embedded one has lost its store, and its end should be seen.
            respawn_failed_workers=not settings.embedded,
            workers_kill_timeout=STOP_TIMEOUT,
            ssl_cert=_path(settings, settings.tls_certificate),
            ssl_key=_path(settings, settings.tls_key),
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError([f"tls_certificate, tls_key: {error.strerror or error}"]) from None


def _path(settings: Settings, name: str | None) -> Path | None:
    return settings.path(name) if name is not None else None


def _announce(configuration: Configuration, workers: int, *, as_json: bool) -> None:
    """Say where the broker is as soon as it is there, from a thread: the server does not come back before it ends."""
    what = functools.partial(_say_when_it_listens, configuration, workers, as_json=as_json)
    threading.Thread(target=what, daemon=True).start()


def _say_when_it_listens(configuration: Configuration, workers: int, *, as_json: bool) -> None:
    settings = configuration.settings
    pause = threading.Event()
    pause.wait(_POLL)
    while not _listens(settings.address):
        pause.wait(_POLL)
    url = f"{'https' if settings.tls_certificate else 'http'}://{settings.listen}"
    if as_json:
        output.line({"url": url, "workers": workers, **counts(configuration)})
        return
    loaded = f"agents: {len(configuration.registry.content.agents)}, policies: {len(configuration.policies.ids)}"
    output.say(f"Agent Broker listens on {url} (store: {store_of(settings)}, workers: {workers}, {loaded}).")
    if settings.mtls_url is not None:
        output.say(f"With mutual TLS it listens on {settings.mtls_listen}; clients reach that at {settings.mtls_url}.")
    if url != settings.issuer:
        output.say(f"Its name is {settings.issuer}: that is where agents and services have to reach it.")


def _listens(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
        return True
    return False
