"""The metrics of a real server: names, labels, and values after requests."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

from server_process import ServerProcess

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]

COUNTERS = {
    "imagegen_requests",
    "imagegen_images",
    "imagegen_unet_rows",
    "imagegen_device_seconds",
    "imagegen_cancelled_requests",
    "imagegen_model_loads",
    "imagegen_model_unloads",
    "imagegen_model_load_failures",
}
GAUGES = {
    "imagegen_running_requests",
    "imagegen_queued_requests",
    "imagegen_held_requests",
    "imagegen_work_seconds",
    "imagegen_memory_budget_bytes",
    "imagegen_memory_used_bytes",
    "imagegen_model_state",
}


def text(server: ServerProcess) -> str:
    answer = server.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def samples(server: ServerProcess) -> Samples:
    found: Samples = defaultdict(dict)
    for family in text_string_to_metric_families(text(server)):
        for sample in family.samples:
            found[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return found


def total(found: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric over all series that have ``labels``."""
    return sum(value for series, value in found[name].items() if labels.items() <= dict(series).items())


class Growth(Protocol):
    """Says how much the series of a metric grew that have ``labels``."""

    def __call__(self, name: str, **labels: str) -> float:
        """Return the difference."""
        ...


def growth(server: ServerProcess, act: Callable[[], object]) -> Growth:
    """Do ``act`` and return a function that says how much a metric grew by it."""
    before = samples(server)
    act()
    after = samples(server)

    def grew(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    return grew


def test_every_metric_has_a_type_and_a_help_text(server: ServerProcess) -> None:
    families = {family.name: family for family in text_string_to_metric_families(text(server))}
    assert {name for name, family in families.items() if family.type == "counter"} == COUNTERS
    assert {name for name, family in families.items() if family.type == "gauge"} >= GAUGES
    assert families["imagegen_request_seconds"].type == "histogram"
    assert all(family.documentation for family in families.values())


def test_a_picture_is_counted_with_its_evaluations_and_its_time(server: ServerProcess) -> None:
    body = {"prompt": "a red circle", "size": "128x128", "num_inference_steps": 3, "n": 2}
    grew = growth(server, lambda: server.post(body).raise_for_status())
    assert grew("imagegen_images_total") == 2
    assert grew("imagegen_unet_rows_total") == 6
    assert 0 < grew("imagegen_device_seconds_total") < 100
    assert grew("imagegen_requests_total", route="/v1/images/generations", status="200", code="") == 1
    assert grew("imagegen_request_seconds_count", route="/v1/images/generations") == 1
    assert grew("imagegen_cancelled_requests_total") == 0


def test_a_refusal_is_counted_with_its_code_and_costs_no_device_time(server: ServerProcess) -> None:
    grew = growth(server, lambda: server.post({"prompt": "a", "size": "1x1"}))
    assert grew("imagegen_requests_total", route="/v1/images/generations", status="400", code="invalid_request") == 1
    assert grew("imagegen_device_seconds_total") == 0


def test_paths_and_methods_of_clients_make_no_series(server: ServerProcess) -> None:
    server.get("/other")
    server.get("/v1/models/nobody")
    before = set(samples(server)["imagegen_requests_total"])
    for index in range(5):
        server.get(f"/elsewhere/{index}")
        server.get(f"/v1/models/nobody-{index}")
        httpx.request(f"VERB{index}", f"{server.url}/elsewhere", timeout=30)
    grown = set(samples(server)["imagegen_requests_total"]) - before
    assert len(grown) <= 1, grown  # GET /metrics itself may be new


def test_the_gauges_of_an_idle_server(server: ServerProcess) -> None:
    found = samples(server)
    assert total(found, "imagegen_running_requests") == 0
    assert total(found, "imagegen_queued_requests") == 0
    assert total(found, "imagegen_work_seconds") == 0
    assert total(found, "imagegen_model_state", model="imagegen/shapes", state="ready") == 1
    assert all(value == 1 for value in found["imagegen_model_state"].values())


def test_names_follow_prometheus(server: ServerProcess) -> None:
    for name in samples(server):
        assert re.fullmatch(r"imagegen_[a-z_]+", name)
        if re.search("time|duration|seconds", name):
            assert "seconds" in name, "base units"
