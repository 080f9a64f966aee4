"""Logging of `serve`: one line of key=value for each thing that happened, on standard error, and never a token in it."""

import logging
import re
from typing import Any

import structlog

LEVELS = ("debug", "info", "warning", "error")

# Whatever looks like a compact JWS, wherever it stands: a token in a log is a token in the hands of whoever reads logs.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}")

# These tell of every job and every start of a worker; of interest only to somebody who looks for a fault.
_CHATTY = ("apscheduler", "_granian")


def configuration(level: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes, in every worker."""
    quiet = {name: {"level": "DEBUG" if level == "debug" else "WARNING"} for name in _CHATTY}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "broker.cli.logs.formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": quiet,
    }


def formatter() -> logging.Formatter:
    """Make what writes records."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", key="time"),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            without_tokens,
            structlog.processors.LogfmtRenderer(key_order=["time", "level", "event", "logger"]),
        ],
    )


def without_tokens(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace every token and assertion in a record, tracebacks included."""
    return {name: _TOKEN.sub("[token]", value) if isinstance(value, str) else value for name, value in event.items()}
