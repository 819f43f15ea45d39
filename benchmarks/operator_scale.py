"""The operator with many ImageModels: time from cold, memory, event to apply, writes when idle.

    PYTHONPATH=tests python benchmarks/operator_scale.py [--models 1000] [--quick]

A real API server (tests/cluster) and a real operator process, on one machine; no pods (`replicas: 0`), so that what is
measured is the operator and not the scheduler. The API server and its controllers share the machine's cores, so the
time from cold is also given as a ratio: to that of the same objects written by a bare client, until Kubernetes'
controllers are done with them.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from cluster.api import Api
from cluster.binary import devcluster
from cluster.control_plane import ControlPlane
from cluster.kubeconfig import write_kubeconfig
from cluster.namespaces import create_namespace
from cluster.resource_definition import make_known
from harness import write_json
from imagegen_contract import names
from imagegen_operator.cluster import connect
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.models import parse_model
from imagegen_operator.resources.deployment import deployment
from imagegen_operator.resources.service import service
from imagegen_operator.settings import OperatorSettings
from operator_process import OperatorProcess, metric, start_operator, writes
from operator_scenes import IMAGE, condition, image_model
from server_process import wait_until

MIB = 2**20
START_SECONDS = 300.0

TARGETS = {"cold_seconds": 30.0, "rss_mib": 250.0, "event_p99_seconds": 1.0, "idle_writes": 0.0, "restart_writes": 0.0}


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen. Seconds are wall time; ``cpu_seconds`` is the operator's own."""

    models: int
    cold_seconds: float
    """From the start of the process until every ImageModel has its Deployment, Service and status."""
    cpu_seconds: float
    rss_mib: float
    requests: int
    event_p50_seconds: float
    event_p99_seconds: float
    """From the API server's answer to an edit until the Deployment has it."""
    idle_seconds: float
    idle_writes: float
    restart_seconds: float
    """A second operator finds all done: until it has looked at every ImageModel."""
    restart_writes: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is written as JSON."""

    seen: Scale
    bare_seconds: float
    """The same objects from a bare client, until the controllers are done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON file; fail when something was wrong, not when it was slow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="fewer edits and a shorter look at the idle operator")
    options = parser.parse_args(arguments)
    bare = bare_seconds(options.models)
    seen = measure(options.models, edits=50 if options.quick else 300, idle=15.0 if options.quick else 60.0)
    for line in table(seen, bare):
        print(line)
    write_json("operator_scale", Results(seen=seen, bare_seconds=bare))
    return 0


def measure(models: int, edits: int, idle: float) -> Scale:
    """Run the whole scene in a control plane of its own."""
    with _control_plane(models) as (api, kubeconfig):
        return _scene(api, kubeconfig, models, edits, idle)


def bare_seconds(models: int) -> float:
    """Return how long the same Deployments and Services take without an operator, in a control plane of their own."""
    with _control_plane(models) as (api, kubeconfig):

        def noted() -> bool:
            return sum(map(_taken_note_of, api.list("Deployment"))) == models

        began = time.monotonic()
        asyncio.run(_write(kubeconfig, api.namespace))
        wait_until(noted, START_SECONDS, "the controllers", every=0.5)
        return time.monotonic() - began


async def _write(kubeconfig: Path, namespace: str) -> None:
    settings = OperatorSettings(namespace=namespace, server_image=IMAGE)
    async with connect({"KUBECONFIG": str(kubeconfig)}, Metrics()) as cluster:
        models, _ = await cluster.list_all(Kind.IMAGE_MODEL, namespace)

        async def work() -> None:
            while models:
                model = parse_model(models.pop())
                await cluster.apply(service(model))
                await cluster.apply(deployment(model, IMAGE, settings))

        await asyncio.gather(*(work() for _ in range(settings.workers)))


def _taken_note_of(manifest: dict[str, Any]) -> bool:
    return manifest.get("status", {}).get("observedGeneration", 0) == manifest["metadata"]["generation"]


@contextlib.contextmanager
def _control_plane(models: int) -> Generator[tuple[Api, Path]]:
    """Yield a namespace with so many ImageModels in a control plane of its own, and a kubeconfig for it."""
    plane = ControlPlane(devcluster(lambda line: print(line, file=sys.stderr)))
    try:
        plane.start()
        api = plane.api()
        make_known(api)
        with tempfile.TemporaryDirectory() as folder:
            inside = api.within(create_namespace(api))
            for index in range(models):
                inside.create(image_model(f"model-{index}", replicas=0))
            path = Path(folder) / "kubeconfig"
            yield inside, write_kubeconfig(path, api.url, token=api.token, ca=api.ca, namespace=inside.namespace)
    finally:
        plane.stop()


def table(seen: Scale, bare: float) -> list[str]:
    """Return the rows of benchmarks/RESULTS.md; ``bare`` is what a bare client takes for the same objects."""
    rows = [f"| {seen.models} ImageModels | seen | target |", "|---|---|---|"]
    words = {
        "cold_seconds": "from cold until all have Deployment, Service and status",
        "cpu_seconds": "the operator's own CPU for that",
        "requests": "its requests to the API server for that",
        "rss_mib": "largest resident memory, MiB",
        "event_p50_seconds": "edit to Deployment, median",
        "event_p99_seconds": "edit to Deployment, 99th of 100",
        "idle_writes": f"writes in {seen.idle_seconds:g} s of nothing",
        "restart_seconds": "a new operator has looked at all",
        "restart_writes": "writes of the new operator",
    }
    for name, text in words.items():
        value, target = getattr(seen, name), TARGETS.get(name)
        rows.append(f"| {text} | {value:.3g} | {'' if target is None else f'<= {target:g}'} |")
    rows.append(f"| the same objects from a bare client, until the controllers are done | {bare:.3g} | |")
    rows.append(f"| from cold against that | {seen.cold_seconds / bare:.2f}x | |")
    return rows


def _scene(api: Api, kubeconfig: Path, models: int, edits: int, idle: float) -> Scale:
    flags = ("--server-image", IMAGE, "--resync-seconds", "3600")
    with start_operator(kubeconfig, api.namespace, *flags) as operator:
        began, url, process = time.monotonic(), operator.listening(), psutil.Process(operator.process.pid)
        peak = _Peak(process)
        wait_until(lambda: _told(url) == models, START_SECONDS, "all models to have a status", every=1.0)
        cold, cpu = time.monotonic() - began, sum(process.cpu_times()[:2])
        requests = metric(url, "imagegen_operator_requests_total")
        _check(api, models)
        delays = _edit(api, models, edits)
        _settle(operator, url)
        before = writes(url)
        threading.Event().wait(idle)  # what is measured is that nothing happens
        written = writes(url) - before
        rss = peak.stop()
    restart, again = _restart(kubeconfig, api.namespace, flags, models)
    return Scale(
        models=models,
        cold_seconds=cold,
        cpu_seconds=cpu,
        rss_mib=rss / MIB,
        requests=int(requests),
        event_p50_seconds=statistics.median(delays),
        event_p99_seconds=statistics.quantiles(delays, n=100)[98],
        idle_seconds=idle,
        idle_writes=written,
        restart_seconds=restart,
        restart_writes=again,
    )


def _restart(kubeconfig: Path, namespace: str, flags: Sequence[str], models: int) -> tuple[float, float]:
    with start_operator(kubeconfig, namespace, *flags) as operator:
        began, url = time.monotonic(), operator.listening()
        done = lambda: metric(url, "imagegen_operator_reconciles_total") >= models  # noqa: E731 - read once below
        wait_until(done, START_SECONDS, "a look at all models", every=0.2)
        seconds = time.monotonic() - began
        _settle(operator, url)
        return seconds, writes(url)


def _told(url: str) -> float:
    return metric(url, "imagegen_operator_models", reason="ScaledToZero")


def _check(api: Api, models: int) -> None:
    selector = f"{names.MANAGED_BY_LABEL}={names.OPERATOR}"
    for kind in ("Deployment", "Service"):
        found = len(api.list(kind, labels=selector))
        assert found == models, f"{found} of {models} {kind}s"
    assert all(condition(each, "Ready")["status"] == "True" for each in api.list("ImageModel"))


def _edit(api: Api, models: int, edits: int) -> list[float]:
    """Edit one model after the other and return how long each Deployment took, by the clock of one watch."""
    arrived: dict[str, float] = {}
    news = threading.Condition()
    watch = threading.Thread(target=_watch, args=(api.within(api.namespace), arrived, news), daemon=True)
    watch.start()
    delays: list[float] = []
    for turn in range(edits):
        name, value = f"model-{turn * 7919 % models}", f"edit-{turn}"
        spec = {"pod": {"env": [{"name": "EDIT", "value": value}]}}
        began = time.monotonic()
        api.patch("ImageModel", name, {"spec": spec})
        with news:
            assert news.wait_for(lambda key=f"{name}={value}": key in arrived, 30), f"{name} was not deployed anew"
        delays.append(arrived[f"{name}={value}"] - began)
    return delays


def _watch(api: Api, arrived: dict[str, float], news: threading.Condition) -> None:
    # It ends with the control plane, which is an error to the one who reads.
    with contextlib.suppress(httpx.TransportError):
        _follow(api, arrived, news)


def _follow(api: Api, arrived: dict[str, float], news: threading.Condition) -> None:
    path = api.path("Deployment")
    for line in api.lines(path, {"watch": "1", "timeoutSeconds": "600"}):
        event: dict[str, Any] = json.loads(line)
        container = event["object"]["spec"]["template"]["spec"]["containers"][0]
        value = next((each["value"] for each in container["env"] if each["name"] == "EDIT"), "")
        with news:
            arrived.setdefault(f"{event['object']['metadata']['name']}={value}", time.monotonic())
            news.notify_all()


def _settle(operator: OperatorProcess, url: str) -> None:
    """Wait until the queue is empty and nothing was written for a while."""
    seen = [-1.0]

    def quiet() -> bool:
        before, seen[0] = seen[0], writes(url)
        return before == seen[0] and metric(url, "imagegen_operator_queue_depth") == 0

    wait_until(quiet, 60, "the operator to settle", every=2.0)
    assert operator.process.poll() is None


class _Peak:
    """The largest resident memory of a process."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._largest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join(5)
        return self._largest

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            self._largest = max(self._largest, self._process.memory_info().rss)


if __name__ == "__main__":
    raise SystemExit(main())
