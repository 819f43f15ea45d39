"""The operator's metrics: what each counts, and the words that explain it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Return all samples by name and labels, as the exposition format writes them, without times of creation."""
    families = text_string_to_metric_families(metrics.text().decode())
    found = [sample for family in families for sample in family.samples if not sample.name.endswith("_created")]
    return {f"{each.name}{dict(sorted(each.labels.items())) or ''}": each.value for each in found}


@pytest.mark.parametrize("result", ["success", "refused", "error"])
def test_reconciles_are_counted_by_result_and_timed(result: str) -> None:
    metrics = Metrics()
    for seconds in (0.002, 3.0):
        metrics.reconciled(result, seconds)
    now = samples(metrics)
    assert now[f"imagegen_operator_reconciles_total{{'result': '{result}'}}"] == 2
    assert now["imagegen_operator_reconcile_seconds_count"] == 2
    assert now["imagegen_operator_reconcile_seconds_sum"] == pytest.approx(3.002)
    assert now["imagegen_operator_reconcile_seconds_bucket{'le': '0.0025'}"] == 1


def test_requests_are_counted_by_method_kind_and_code_and_timed_by_method() -> None:
    metrics = Metrics()
    metrics.requested("patch", Kind.DEPLOYMENT, "200", 0.1)
    metrics.requested("patch", Kind.DEPLOYMENT, "409", 0.1)
    metrics.requested("get", Kind.LEASE, "none", 30)
    now = samples(metrics)
    name = "imagegen_operator_requests_total"
    assert {key: value for key, value in now.items() if key.startswith(name)} == {
        f"{name}{{'code': '200', 'kind': 'Deployment', 'method': 'patch'}}": 1,
        f"{name}{{'code': '409', 'kind': 'Deployment', 'method': 'patch'}}": 1,
        f"{name}{{'code': 'none', 'kind': 'Lease', 'method': 'get'}}": 1,
    }
    assert now["imagegen_operator_request_seconds_sum{'method': 'get'}"] == 30


def test_the_leader_is_one_and_a_standby_zero() -> None:
    metrics = Metrics()
    assert samples(metrics)["imagegen_operator_leader"] == 0
    metrics.leading(True)
    assert samples(metrics)["imagegen_operator_leader"] == 1


def test_a_catalog_that_cannot_be_applied_is_one() -> None:
    metrics = Metrics()
    assert samples(metrics)["imagegen_operator_catalog_failed"] == 0
    metrics.catalog(well=False)
    assert samples(metrics)["imagegen_operator_catalog_failed"] == 1
    metrics.catalog(well=True)
    assert samples(metrics)["imagegen_operator_catalog_failed"] == 0


def test_queue_watches_and_models_are_read_when_somebody_asks() -> None:
    metrics, waiting, ready = Metrics(), ["a"], {("True", "AllReplicasReady"): 3, ("False", "Loading"): 1}
    metrics.observe(lambda: len(waiting), lambda: {Kind.POD: 7.5}, lambda: ready)
    waiting.append("b")
    now = samples(metrics)
    assert now["imagegen_operator_queue_depth"] == 2
    assert now["imagegen_operator_watch_age_seconds{'kind': 'Pod'}"] == 7.5
    assert now["imagegen_operator_models{'ready': 'True', 'reason': 'AllReplicasReady'}"] == 3
    assert now["imagegen_operator_models{'ready': 'False', 'reason': 'Loading'}"] == 1
    ready.clear()
    assert not [key for key in samples(metrics) if key.startswith("imagegen_operator_models")]


def test_a_standby_has_no_watches() -> None:
    assert not [key for key in samples(Metrics()) if "watch" in key or "queue" in key]


def test_two_operators_of_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.leading(True)
    assert samples(second)["imagegen_operator_leader"] == 0


def test_each_metric_is_explained() -> None:
    metrics = Metrics()
    metrics.observe(int, dict[Kind, float], dict[tuple[str, str], int])
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert len(family.documentation) > 15, family.name
