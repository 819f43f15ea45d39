"""One download however many threads and processes want it, and one that goes on after kill -9."""

import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import hub_fetcher
from hub_fetching import HALVES, MakeSource, fetch
from hub_folders import CONFIGURATION, write_repository
from hub_server import Hub
from server_process import wait_until

pytestmark = pytest.mark.slow

WANTED = ("model_index.json", *CONFIGURATION, *HALVES)


@pytest.fixture
def large(hub: Hub, tmp_path: Path) -> Hub:
    """Return the Hub with a repository that takes a second at the rate that it sends."""
    hub.folders["acme/model"] = write_repository(tmp_path / "large", unet_bytes=8_000_000)
    hub.faults.bytes_per_second = 4_000_000
    return hub


@contextmanager
def fetching(hub: Hub, cache: Path) -> Generator["subprocess.Popen[str]"]:
    """Start a process that fetches the model; kill it at the end of the block if it still runs."""
    command = [sys.executable, hub_fetcher.__file__, hub.url, str(cache), "acme/model"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def output(process: "subprocess.Popen[str]") -> list[str]:
    """Wait for the end and return what was printed."""
    return process.communicate(timeout=60)[0].split()


def test_threads_share_one_download(large: Hub, make_source: MakeSource) -> None:
    source = make_source()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fetch, [source] * 4))

    assert len({weights.path for weights in found}) == 1
    assert large.total_sent == large.size("acme/model", *WANTED)


def test_two_processes_share_one_download(large: Hub, cache: Path) -> None:
    with fetching(large, cache) as one, fetching(large, cache) as other:
        ends = [output(one)[-1], output(other)[-1]]

    assert ends[0] == ends[1]
    assert large.total_sent == large.size("acme/model", *WANTED)


def test_a_killed_download_is_taken_up_where_it_was(large: Hub, cache: Path, make_source: MakeSource) -> None:
    with fetching(large, cache) as process:
        wait_until(lambda: large.total_sent > 1_500_000, 60, "the middle of the download")
        process.kill()
        process.wait(10)
    left = sum(path.stat().st_size for path in cache.glob("*/blobs/*"))
    before = large.total_sent

    weights = fetch(make_source())

    whole = large.size("acme/model", *WANTED)
    assert left > 1_000_000
    assert large.total_sent - before < whole - left + 500_000  # with what was on its way when it was killed
    for path in WANTED:
        assert (weights.path / path).read_bytes() == (large.folders["acme/model"] / path).read_bytes()
    assert not list(cache.glob("*/blobs/*.incomplete"))


def test_who_waits_for_a_killed_process_takes_over(large: Hub, cache: Path) -> None:
    with fetching(large, cache) as first:
        wait_until(lambda: large.total_sent > 500_000, 60, "the first bytes")
        with fetching(large, cache) as second:
            wait_until(lambda: len(large.requests) > 2 * len(HALVES), 60, "the second process to ask")
            first.kill()
            end = output(second)[-1]

    assert Path(end).is_dir()
    assert large.total_sent < large.size("acme/model", *WANTED) + 1_000_000
