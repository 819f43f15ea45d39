"""Log lines for people: every program of ours writes them alike."""

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every record has; whatever else is in one is a fact. ``color_message`` is uvicorn's second copy."""


def wants_json(log_format: str) -> bool:
    """Return whether ``json``, ``console`` or ``auto`` (a terminal has a reader) asks for JSON on standard error."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


class ConsoleFormatter(logging.Formatter):
    """The message and then its facts as key=value, the request last; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class names it so
        """Return the line; the base class calls it."""
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if request_id := facts.pop("request_id", ""):
            facts["request_id"] = request_id
        return " ".join([super().formatMessage(record), *(f"{key}={_one_line(value)}" for key, value in facts.items())])


def _one_line(value: object) -> str:
    """Return the text of ``value``, escaped when it could forge a line or move a terminal's cursor (paths can)."""
    text = str(value)
    return text if text.isprintable() else ascii(text)
