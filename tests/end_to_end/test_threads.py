"""A server's threads of arithmetic: how many there are and how they wait, as the OpenMP library itself says."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from server_process import start_server

pytestmark = pytest.mark.slow

_SPOKEN = {"OMP_DISPLAY_ENV": "VERBOSE"}
"""Has the library print what it goes by, when torch is imported and loads it."""


@contextmanager
def on_one_cpu() -> Generator[None]:
    """Let this thread, and the processes that it starts, use one CPU alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_threads_sleep_while_they_wait_and_are_no_more_than_the_cores() -> None:
    with on_one_cpu(), start_server(environment=_SPOKEN) as server:
        server.wait_ready(120)
        line = next(line for line in server.log if line["message"] == "threads")
    goes_by = dict(re.findall(r"(\w+) = '([^']*)'", "".join(server.stderr)))
    assert (goes_by["OMP_WAIT_POLICY"], goes_by["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")
    assert goes_by["OMP_NUM_THREADS"] == "1"
    assert (line["number"], line["because"], line["waiting"]) == ("1", "cores: 1", "asleep")


def test_what_the_user_has_set_wins() -> None:
    with start_server(environment={"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE"}) as server:
        line = next(line for line in server.log if line["message"] == "threads")
    assert (line["number"], line["because"]) == ("3", "OMP_NUM_THREADS=3")
    assert line["waiting"] == "OMP_WAIT_POLICY=ACTIVE"
