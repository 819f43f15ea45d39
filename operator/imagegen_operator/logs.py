"""Structured logs: one line an event."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from imagegen_contract.log_lines import ConsoleFormatter, wants_json


def configure_logging(log_format: str, level: str) -> None:
    """Send every logger of the process to standard error, as JSON or as readable lines (``auto``: by the terminal)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_formatter() if wants_json(log_format) else ConsoleFormatter())
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
