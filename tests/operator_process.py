"""A real operator process for tests, outside the cluster, by a kubeconfig."""

from collections.abc import Generator, Mapping, Sequence
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
    return sum(value for sample, value in _samples(url, name) if _has(sample, labels))


def writes(url: str) -> float:
    """Return how often the operator has written something besides its Lease. One reading: the Lease is always busy."""
    samples = _samples(url, "imagegen_operator_requests_total")
    others = [(sample, value) for sample, value in samples if not _has(sample, {"kind": "Lease"})]
    return sum(value for sample, value in others if not _has(sample, {"method": "get"}))


def _samples(url: str, name: str) -> list[tuple[str, float]]:
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    found = [line.rpartition(" ") for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
    return [(sample, float(value)) for sample, _, value in found]


def _has(sample: str, labels: Mapping[str, str]) -> bool:
    return all(f'{label}="{value}"' in sample for label, value in labels.items())
