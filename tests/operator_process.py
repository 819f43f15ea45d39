"""A real operator process for tests, outside the cluster, by a kubeconfig."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from logged_process import LoggedProcess, start_module

START_SECONDS = 60.0


class OperatorProcess(LoggedProcess):
    """A running `imagegen-operator`."""

    def wait_leading(self, seconds: float = START_SECONDS) -> None:
        """Wait until it has won the Lease."""
        self.next_line("leading", seconds)

    def listening(self, seconds: float = START_SECONDS) -> str:
        """Return the URL of its health and metrics."""
        return self.next_line("listening", seconds)["url"]

    def messages(self, message: str) -> list[dict[str, object]]:
        """Return the log lines with that message so far."""
        return [line for line in self.log if line["message"] == message]


@contextmanager
def start_operator(
    kubeconfig: Path,
    namespace: str,
    *flags: str,
    environment: dict[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Generator[OperatorProcess]:
    """Start an operator for one namespace; end it afterwards."""
    process = start_module(
        "imagegen_operator.main",
        *("--namespace", namespace, "--port", "0"),
        *flags,
        environment={"KUBECONFIG": str(kubeconfig), **(environment or {})},
        inside=inside,
    )
    running = OperatorProcess(process)
    try:
        yield running
    finally:
        running.stop()


def metric(url: str, name: str, **labels: str) -> float:
    """Return the sum of a metric over all samples that have these labels."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    samples = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(line.rpartition(" ")[2]) for line in samples if all(each in line for each in wanted))


def writes(url: str) -> float:
    """Return how often the operator has written something besides its Lease."""
    name = "imagegen_operator_requests_total"
    every = sum(metric(url, name, method=method) for method in ("patch", "post", "put", "delete"))
    return every - sum(metric(url, name, method=method, kind="Lease") for method in ("post", "put"))
