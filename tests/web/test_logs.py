"""Log lines as machines and people read them, and what is never in them."""

import json
import subprocess
import sys
from typing import Any

import pytest

from server_process import ServerProcess, wait_until

PRIVATE = "a very private prompt of mine"

PROGRAM = """
import logging
from imagegen_web.logs import REQUEST_ID, configure_logging
configure_logging({log_format!r}, {level!r})
log = logging.getLogger("here")
log.debug("too quiet")
log.info("started", extra={{"url": "http://x", "path": "/a\\n2026 ERROR forged \\x1b[2J"}})
REQUEST_ID.set("req_1")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it broke", extra={{"status": 500}})
logging.getLogger("uvicorn.error").info("Started server process")
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
"""


def lines(log_format: str, level: str = "info") -> list[str]:
    """Return what a program writes to standard error, line by line; standard output stays empty."""
    program = PROGRAM.format(log_format=log_format, level=level)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_machines_get_one_json_object_a_line(log_format: str) -> None:
    started, broke, warning = (json.loads(line) for line in lines(log_format))
    assert {"level": "INFO", "logger": "here", "message": "started", "url": "http://x"}.items() <= started.items()
    assert started["path"] == "/a\n2026 ERROR forged \x1b[2J"
    assert started["time"][10] == "T"
    assert (broke["level"], broke["request_id"], broke["status"]) == ("ERROR", "req_1", 500)
    assert "ZeroDivisionError" in broke["exc_info"]
    assert warning["message"] == "Invalid HTTP request received."


def test_people_get_a_readable_line_with_facts_and_then_the_traceback() -> None:
    started, broke, *traceback, warning = lines("console")
    assert " INFO    started url=http://x path=" in started
    assert broke.endswith(" ERROR   it broke status=500 request_id=req_1")
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == "ZeroDivisionError: division by zero"
    assert "Invalid HTTP request received." in warning


def test_what_clients_send_cannot_forge_a_line_or_move_the_terminal() -> None:
    started = lines("console")[0]
    assert r"path='/a\n2026 ERROR forged \x1b[2J'" in started


def test_the_level_is_the_least_that_is_shown() -> None:
    assert next(json.loads(line)["message"] for line in lines("json", "debug")) == "too quiet"
    assert [json.loads(line)["level"] for line in lines("json", "error")] == ["ERROR"]


def logged(server: ServerProcess, request_id: str) -> dict[str, Any]:
    """Return the line of one request; it is written just after the answer is sent."""

    def found() -> list[dict[str, Any]]:
        return [line for line in list(server.log) if line.get("request_id") == request_id]

    wait_until(found, 10, f"the line of {request_id}")
    (line,) = found()
    return line


def test_a_request_is_one_line_with_its_id_and_never_its_prompt(server: ServerProcess) -> None:
    body = {"prompt": PRIVATE, "negative_prompt": PRIVATE, "user": PRIVATE, "size": "128x128", "num_inference_steps": 1}
    answer = server.post(body, headers={"x-request-id": "log-good"})
    assert answer.status_code == 200
    line = logged(server, "log-good")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/images/generations", 200)
    assert 0 < line["seconds"] < 100
    refused = server.post({"prompt": PRIVATE, PRIVATE: 1}, headers={"x-request-id": "log-bad"})
    assert refused.status_code == 400
    assert logged(server, "log-bad")["code"] == "unknown_parameter"
    assert PRIVATE not in json.dumps(server.log)
    assert PRIVATE not in "".join(server.stderr)


def test_the_settings_are_logged_whole_at_the_start(server: ServerProcess) -> None:
    (line,) = (line for line in server.log if line["message"] == "settings")
    assert json.loads(line["settings"])["max_queued_requests"] == 64
