"""Logging of `serve`: one line of key=value for each thing that happened, on standard error, and never a token in it."""

import logging
import re
from typing import Any

import structlog

# Whatever looks like a compact JWS, wherever it stands: a token in a log is a token in the hands of whoever reads logs.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}")

# What others write below a warning is about themselves: every job of the scheduler, every second.
_OURS = ("broker", "scopes")


def configuration(level: str) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes, in every worker."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "broker.cli.logs.formatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {name: {"level": level.upper()} for name in _OURS},
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
