"""What all tests share: the table of acceptance points, and the servers that tests talk to."""

import atexit
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings

from server_process import Server, start_server

pytest_plugins = ["cluster.fixtures", "container_image"]
"""Nothing of a Kubernetes starts, and no image is built, before a test asks for it."""

_SHOWN = "acceptance"
"""Among the properties of a report, which a test process beside this one sends too."""

_LOST = pytest.StashKey[set[str]]()

_IN_CI = os.environ.get("CI") == "true"  # noqa: TID251 - a test run is a composition root
"""In CI a test that is skipped although the machine could run it is a failure."""

# Before torch is imported, as in the server: tests run two at a time, each with a thread for every core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # noqa: TID251 - as above

Show = Callable[[str, str], None]


# A made-up example is as slow as the machine is busy. In CI hypothesis has a profile of its own, on which this builds.
settings.register_profile("imagegen", parent=settings(), deadline=None)
settings.load_profile("imagegen")


def pytest_configure(config: pytest.Config) -> None:
    """Have a process of pytest-xdist end without tearing the interpreter down, as the server does.

    triton's bindings would print pages of leak warnings. What is registered first runs last.
    """
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which tests pytest-xdist would lose: it runs one of those that have one id."""
    ids = Counter(item.nodeid for item in items)
    config.stash[_LOST] = {test for test, count in ids.items() if count > 1 and hasattr(config, "workerinput")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail for the others of its id."""
    if item.nodeid in item.config.stash[_LOST]:
        pytest.fail("several tests have this id, of which only one would run in parallel: mark them alone")


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    """Return a function that prints one acceptance point and its figure, for the table at the end."""

    def record(point: str, figure: str) -> None:
        request.node.user_properties.append((_SHOWN, (point, figure)))
        print(f"\n{point}: {figure}")  # noqa: T201 - seen with pytest -s

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped in CI."""
    report = yield
    if report.skipped and _IN_CI and not item.get_closest_marker("gpu"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything but a GPU is there: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of acceptance points."""
    points = [
        (point, figure, report.outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and "acceptance" in report.keywords
        for point, figure in _shown(report) or [(report.nodeid, "")]
    ]
    if not points:
        return
    terminalreporter.section("acceptance")
    width = max(len(point) for point, _, _ in points)
    for point, figure, outcome in points:
        terminalreporter.write_line(f"{outcome:7} {point:{width}}  {figure}")


def _shown(report: pytest.TestReport) -> list[tuple[str, str]]:
    return [cast("tuple[str, str]", value) for name, value in report.user_properties if name == _SHOWN]


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
