"""A server's threads of arithmetic: how many there are and how they wait, as the OpenMP library itself says."""

import re

import pytest

from conftest import Show
from imagegen_server.machine import cpu_cores
from server_process import start_server

pytestmark = pytest.mark.slow

_SPOKEN = {"OMP_DISPLAY_ENV": "VERBOSE", "OMP_WAIT_POLICY": "", "OMP_NUM_THREADS": ""}
"""Has the library print what it goes by, when torch is imported and loads it; what the tests go by is not set."""


@pytest.mark.acceptance
def test_the_library_is_told_before_it_is_loaded(show: Show) -> None:
    with start_server("--cpu-threads", "3", environment=_SPOKEN) as server:
        server.wait_ready(240)
    goes_by = dict(re.findall(r"(\w+) = '([^']*)'", "".join(server.stderr)))
    assert (goes_by["OMP_WAIT_POLICY"], goes_by["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")
    assert goes_by["OMP_NUM_THREADS"] == "3"
    show("14.1 fault 13: a busy machine", "OMP_WAIT_POLICY set before torch is loaded")


@pytest.mark.parametrize(
    ("environment", "number", "waiting"),
    [
        pytest.param({}, "", "asleep", id="nothing is set"),
        pytest.param({"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE"}, "3", "OMP_WAIT_POLICY=ACTIVE", id="set"),
    ],
)
def test_the_log_says_how_many_threads_there_are_and_how_they_wait(
    environment: dict[str, str], number: str, waiting: str
) -> None:
    with start_server(environment=_SPOKEN | environment) as server:
        line = next(line for line in server.log if line["message"] == "threads")
    assert line["waiting"] == waiting
    assert 1 <= int(line["number"]) <= cpu_cores() if not number else line["number"] == number
