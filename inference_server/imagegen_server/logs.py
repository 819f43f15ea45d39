"""Structured logs: one line an event, with its request's id. Prompts and pictures are never logged."""

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task works for; set by the middleware."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "request_id",
    "taskName",
    "color_message",
}


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger of the process to standard error, as JSON or as readable lines (``auto``: by the terminal)."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(_json_formatter() if as_json else _ConsoleFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.root.handlers = [handler]
    logging.root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    # uvicorn tells of every start and end in its own words; ours say the same with the facts.
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.root.level))


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    return True


class _ConsoleFormatter(logging.Formatter):
    """The message and then its facts as key=value; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it so
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if request_id := getattr(record, "request_id", ""):
            facts["request_id"] = request_id
        return " ".join([super().formatMessage(record), *(f"{key}={_one_line(value)}" for key, value in facts.items())])


def _one_line(value: object) -> str:
    """Return the text of ``value``, escaped when it could forge a line or move a terminal's cursor (paths can)."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
