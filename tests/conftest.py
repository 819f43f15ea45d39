"""What all tests share: the table of acceptance points, and the servers that tests talk to."""

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from server_process import Server, start_server

pytest_plugins = ["cluster.fixtures", "container_image"]
"""Nothing of a Kubernetes starts, and no image is built, before a test asks for it."""

_POINTS = pytest.StashKey[list[tuple[str, str, str]]]()
_SHOWN = pytest.StashKey[list[tuple[str, str]]]()

_IN_CI = os.environ.get("CI") == "true"  # noqa: TID251 - a test run is a composition root
"""In CI a test that is skipped although the machine could run it is a failure."""

Show = Callable[[str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the table."""
    config.stash[_POINTS] = []


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    """Return a function that prints one acceptance point and its figure, for the table at the end."""
    shown = request.node.stash.setdefault(_SHOWN, [])

    def record(point: str, figure: str) -> None:
        shown.append((point, figure))
        print(f"\n{point}: {figure}")  # noqa: T201 - seen with pytest -s

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome of each acceptance point."""
    report = yield
    if report.skipped and _IN_CI and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything but a GPU is there: {report.longrepr}"
    if report.when == "call" and item.get_closest_marker("acceptance"):
        shown = item.stash.get(_SHOWN, []) or [(item.name, "")]
        for point, figure in shown:
            item.config.stash[_POINTS].append((point, figure, report.outcome))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table of acceptance points."""
    points = config.stash[_POINTS]
    if not points:
        return
    terminalreporter.section("acceptance")
    width = max(len(point) for point, _, _ in points)
    for point, figure, outcome in points:
        terminalreporter.write_line(f"{outcome:7} {point:{width}}  {figure}")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Return a real server with the embedded model, ready; shared by all tests that leave it as it is.

    It is a process of this checkout, unless IMAGEGEN_TEST_URL names another one, such as a container.
    """
    if url := os.environ.get("IMAGEGEN_TEST_URL"):  # noqa: TID251 - as above
        yield Server(url)
        return
    with start_server() as running:
        running.wait_ready()
        yield running


@pytest.fixture
def repository() -> Path:
    """Return the root of the checkout."""
    return Path(__file__).parent.parent
