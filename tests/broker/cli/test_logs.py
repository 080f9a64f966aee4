"""The log of `serve`."""

import logging
import logging.config

import pytest

from broker.cli import logs

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture
def formatter():
    return logs.formatter()


def record(message: str, *arguments: object, exc_info=None) -> logging.LogRecord:
    return logging.LogRecord("broker.test", logging.WARNING, __file__, 1, message, arguments, exc_info)


def test_a_record_is_one_line_of_names_and_values(formatter):
    line = formatter.format(record("lease %s has no token", "lse_1"))
    assert "\n" not in line
    assert line.startswith("time=")
    assert 'level=warning event="lease lse_1 has no token" logger=broker.test' in line


def test_a_newline_in_a_message_begins_no_new_record(formatter):
    assert "\n" not in formatter.format(record("purpose: a\nlevel=error event=forged"))


@pytest.mark.parametrize("text", [f"Bearer {TOKEN}", TOKEN, TOKEN.rsplit(".", 1)[0], f"({TOKEN})"])
def test_a_token_never_reaches_a_log(formatter, text):
    line = formatter.format(record("refused %s", text))
    assert "eyJ" not in line
    assert "[token]" in line


def test_a_token_never_reaches_a_log_in_a_traceback(formatter):
    with pytest.raises(ValueError, match="eyJ") as raised:
        int(TOKEN)
    line = formatter.format(record("failed", exc_info=(raised.type, raised.value, raised.tb)))
    assert "ValueError" in line
    assert "eyJ" not in line


def test_the_configuration_is_one_that_logging_takes(capsys):
    names = ("", "broker", "scopes")
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    handlers = logging.getLogger().handlers[:]
    try:
        logging.config.dictConfig(logs.configuration("debug"))
        assert logging.getLogger("broker.issuer").isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("apscheduler").isEnabledFor(logging.INFO)
    finally:
        logging.getLogger().handlers[:] = handlers
        for logger, level in before:
            logger.setLevel(level)
