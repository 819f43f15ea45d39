"""Prometheus metrics, each with its meaning in its help text. Names follow Prometheus' conventions (base units)."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from imagegen_server.engine import Engine
from imagegen_server.models import ModelStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)


class Metrics:
    """The registry of one server: no global one, so that two servers in one process do not mix."""

    def __init__(self, engine: Engine, models: ModelStore) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._requests = Counter(
            "imagegen_requests",
            "Requests answered, by route, status and error code",
            ["route", "status", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "imagegen_request_seconds",
            "Time from receiving a request to its last byte, by route",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        registry.register(_EngineCollector(engine, models))

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(route, str(status), code).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    """Reads the engine when asked, so that counting costs the device thread nothing."""

    def __init__(self, engine: Engine, models: ModelStore) -> None:
        self._engine = engine
        self._models = models

    def collect(self) -> Iterable[Metric]:
        engine, counters = self._engine, self._engine.counters
        yield _counter("imagegen_images", "Pictures made", counters.images)
        yield _counter("imagegen_unet_rows", "Image rows evaluated by the UNet", counters.evaluations)
        yield _counter("imagegen_device_seconds", "Seconds the device worked on requests", counters.device_seconds)
        yield _counter("imagegen_cancelled_requests", "Requests stopped before their end", counters.cancelled_requests)
        yield _gauge("imagegen_running_requests", "Requests on the device", len(engine.running()))
        yield _gauge("imagegen_queued_requests", "Requests waiting for the device", len(engine.waiting()))
        yield _gauge("imagegen_work_seconds", "Predicted device seconds of all work here", engine.predicted_seconds())
        yield from self._model_metrics()

    def _model_metrics(self) -> Iterable[Metric]:
        models, counters = self._models, self._models.counters
        yield _gauge("imagegen_held_requests", "Requests waiting for their model to be loaded", models.held)
        yield _gauge("imagegen_memory_budget_bytes", "Bytes that weights may take", models.memory.budget_bytes)
        yield _gauge("imagegen_memory_used_bytes", "Bytes that loaded weights take", models.memory.used_bytes)
        yield _counter("imagegen_model_loads", "Models put onto the device", counters.loads)
        yield _counter("imagegen_model_unloads", "Models taken off the device", models.unloads)
        yield _counter("imagegen_model_load_failures", "Loads that failed, each try counted", counters.failures)
        state = GaugeMetricFamily("imagegen_model_state", "1 for the state a model is in", labels=["model", "state"])
        for status in self._models.statuses():
            state.add_metric([status.id, status.state], 1)
        yield state


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family
