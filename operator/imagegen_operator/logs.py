"""Structured logs: one line an event."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger of the process to standard error, as JSON or as readable lines (``auto``: by the terminal)."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_formatter() if as_json else _ConsoleFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.root.handlers = [handler]
    logging.root.setLevel(level.upper())
    # kopf tells of each event that it handled; what matters of it, the watches say themselves.
    logging.getLogger("kopf").setLevel(max(logging.ERROR, logging.root.level))


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )


class _ConsoleFormatter(logging.Formatter):
    """The message and then its facts as key=value; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it so
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return " ".join([super().formatMessage(record), *(f"{key}={_one_line(value)}" for key, value in facts.items())])


def _one_line(value: object) -> str:
    """Return the text of ``value``, escaped when it could forge a line or move a terminal's cursor (paths can)."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
