"""Log lines of the operator as machines and people read them."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from imagegen_operator.logs import configure_logging
configure_logging({log_format!r}, {level!r})
log = logging.getLogger("imagegen.here")
log.debug("too quiet")
log.info("applied", extra={{"kind": "Service", "object": "a\\n2026 ERROR forged \\x1b[2J"}})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it broke", extra={{"model": "one"}})
logging.getLogger("kopf.objects").info("Handler succeeded")
logging.getLogger("kopf.objects").error("a watch failed")
"""


def lines(log_format: str, level: str = "info") -> list[str]:
    """Return what a program writes to standard error, line by line; standard output stays empty."""
    program = PROGRAM.format(log_format=log_format, level=level)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_machines_get_one_json_object_a_line(log_format: str) -> None:
    """Nobody reads the standard error of a pod, so ``auto`` is JSON; kopf tells of failures only."""
    applied, broke, kopf = (json.loads(line) for line in lines(log_format))
    assert {
        "level": "INFO",
        "logger": "imagegen.here",
        "message": "applied",
        "kind": "Service",
    }.items() <= applied.items()
    assert applied["object"] == "a\n2026 ERROR forged \x1b[2J"
    assert applied["time"][10] == "T"
    assert (broke["level"], broke["model"]) == ("ERROR", "one")
    assert "ZeroDivisionError" in broke["exc_info"]
    assert kopf["message"] == "a watch failed"


def test_people_get_a_readable_line_that_nothing_can_forge() -> None:
    applied, broke, *traceback, kopf = lines("console")
    assert applied.endswith(r" INFO    applied kind=Service object='a\n2026 ERROR forged \x1b[2J'")
    assert broke.endswith(" ERROR   it broke model=one")
    assert traceback[-1] == "ZeroDivisionError: division by zero"
    assert kopf.endswith("a watch failed")


def test_the_level_is_the_least_that_is_shown() -> None:
    assert json.loads(lines("json", "debug")[0])["message"] == "too quiet"
    assert [json.loads(line)["level"] for line in lines("json", "error")] == ["ERROR", "ERROR"]
