"""Prometheus metrics, each with its meaning in its help text. Names follow Prometheus' conventions (base units)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagegen_router.demand import ModelDemand
from imagegen_router.endpoints import Endpoints

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)


class Metrics:
    """The registry of one router."""

    def __init__(self, endpoints: Endpoints, demand: Callable[[], Iterable[ModelDemand]]) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = prometheus_client.Counter(
            "imagegen_router_requests",
            "Requests answered, by route, status and error code",
            ["route", "status", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "imagegen_router_request_seconds",
            "Time from receiving a request to its last byte, by route",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._children: dict[tuple[str, int, str], tuple[prometheus_client.Counter, Histogram]] = {}
        """What the labels mean is looked up once: it takes as long as all the rest of counting."""
        registry.register(_State(endpoints, demand))

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answer."""
        children = self._children.get((route, status, code))
        if children is None:
            children = self._requests.labels(route, str(status), code), self._seconds.labels(route)
            self._children[route, status, code] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)


class _State(Collector):
    """Reads the waiting rooms and pods when asked."""

    def __init__(self, endpoints: Endpoints, demand: Callable[[], Iterable[ModelDemand]]) -> None:
        self._endpoints = endpoints
        self._demand = demand

    def collect(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily(
            "imagegen_router_waiting_requests", "Requests that wait for a pod", labels=["model"]
        )
        running = GaugeMetricFamily("imagegen_router_running_requests", "Requests on pods", labels=["model"])
        work = GaugeMetricFamily(
            "imagegen_router_waiting_seconds", "Predicted device seconds of what waits", labels=["model"]
        )
        for each in self._demand():
            waiting.add_metric([each.model], each.waiting_requests)
            running.add_metric([each.model], each.running_requests)
            work.add_metric([each.model], each.waiting_seconds)
        yield from (waiting, running, work)
        pods = GaugeMetricFamily(
            "imagegen_router_pods", "Known pods, by model and whether they take work", labels=["model", "state"]
        )
        now = asyncio.get_running_loop().time()
        counts = Counter(
            (endpoint.address.model, "serving" if endpoint.takes_work(now) else "not_serving")
            for endpoint in self._endpoints
        )
        for labels, count in counts.items():
            pods.add_metric(labels, count)
        yield pods
