"""Structured logs: one line an event, with its request's id. Prompts and pictures are never logged."""

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from imagegen_contract.log_lines import ConsoleFormatter, wants_json

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task works for; set by the middleware."""


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger of the process to standard error, as JSON or as readable lines (``auto``: by the terminal)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(_json_formatter() if wants_json(log_format) else ConsoleFormatter())
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
