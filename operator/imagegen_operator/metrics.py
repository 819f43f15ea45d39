"""Prometheus metrics of the operator, each with its meaning in its help text."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagegen_operator.kinds import Kind

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The registry of one operator."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._reconciles = Counter(
            "imagegen_operator_reconciles",
            "ImageModels looked at: success, refused (by the API server, or no answer), error (a mistake of ours)",
            ["result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "imagegen_operator_reconcile_seconds", "Time of one reconcile", buckets=_SECONDS, registry=registry
        )
        self._requests = Counter(
            "imagegen_operator_requests",
            "Requests to the API server by method, kind and status code; none without an answer. Watches are not here",
            ["method", "kind", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "imagegen_operator_request_seconds",
            "Time of one request to the API server",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._leader = Gauge("imagegen_operator_leader", "1 on the operator that has the lease", registry=registry)
        self._catalog = Gauge(
            "imagegen_operator_catalog_failed",
            "1 while the catalog file cannot be applied as a whole",
            registry=registry,
        )

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one reconcile."""
        self._reconciles.labels(result).inc()
        self._seconds.observe(seconds)

    def requested(self, method: str, kind: str, code: str, seconds: float) -> None:
        """Count one request to the API server."""
        self._requests.labels(method, kind, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def leading(self, leads: bool) -> None:
        """Say whether this operator has the lease."""
        self._leader.set(leads)

    def catalog(self, *, well: bool) -> None:
        """Say whether the catalog file could be applied as a whole."""
        self._catalog.set(0 if well else 1)

    def observe(self, depth: Callable[[], int], ages: Callable[[], Mapping[Kind, float]], ready: "ReadyCounts") -> None:
        """Read these when somebody asks: the depth of the queue, the ages of watches, models by reason of Ready."""
        self._registry.register(_Live(depth, ages, ready))

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)


ReadyCounts = Callable[[], Mapping[tuple[str, str], int]]
"""Returns how many ImageModels there are by status and reason of Ready."""


class _Live(Collector):
    def __init__(self, depth: Callable[[], int], ages: Callable[[], Mapping[Kind, float]], ready: ReadyCounts) -> None:
        self._depth = depth
        self._ages = ages
        self._ready = ready

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("imagegen_operator_queue_depth", "ImageModels that wait to be looked at")
        depth.add_metric([], self._depth())
        yield depth
        ages = GaugeMetricFamily(
            "imagegen_operator_watch_age_seconds", "Time since the last sign of life of a watch", labels=["kind"]
        )
        for kind, age in self._ages().items():
            ages.add_metric([kind], age)
        yield ages
        models = GaugeMetricFamily(
            "imagegen_operator_models", "ImageModels by status and reason of Ready", labels=["ready", "reason"]
        )
        for labels, count in self._ready().items():
            models.add_metric(labels, count)
        yield models
