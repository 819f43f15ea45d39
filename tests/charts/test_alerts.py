"""The chart's alerts: Prometheus takes them, each fires and is silent when it should, and they name what there is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from exposed_metrics import Exposed, complaints, exposed
from imagegen_contract import names
from promtool import promtool

CHART = Path(__file__).parents[2] / "charts/imagegen"
ALERTS = CHART / "files/alerts.yaml"
CASES = Path(__file__).parent / "alerts_test.yaml"


def alerts() -> dict[str, dict[str, Any]]:
    """Return the rules by name."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def tried(alert: str) -> set[str]:
    """Return what an alert is expected to do somewhere in the cases."""
    tests = yaml.safe_load(CASES.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == alert]
    return {"fires" if case.get("exp_alerts") else "is silent" for case in cases}


@pytest.fixture(scope="module")
def known() -> Exposed:
    return exposed()


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", ALERTS)


def test_alerts_fire_and_are_silent_as_the_cases_say() -> None:
    promtool("test", "rules", CASES)


@pytest.mark.parametrize("alert", alerts())
def test_each_alert_is_tried_both_ways(alert: str) -> None:
    assert tried(alert) == {"fires", "is silent"}


def test_no_case_is_of_an_alert_that_is_gone() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    assert {case["alertname"] for test in tests for case in test["alert_rule_test"]} == set(alerts())


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_names_metrics_and_labels_that_the_code_exposes(alert: str, known: Exposed) -> None:
    assert list(complaints(alerts()[alert]["expr"], known)) == []


@pytest.mark.parametrize("alert", alerts())
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = alerts()[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_the_pod_monitor_adds_the_label_that_tells_models_apart() -> None:
    monitor = (CHART / "templates/monitoring/pod-monitor.yaml").read_text()
    assert f"podTargetLabels: [{names.MODEL_LABEL}]" in monitor


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(rate(imagegen_router_requests[5m]))", "there is no metric imagegen_router_requests"),
        ("imagegen_router_pods unless imagegen_pods", "there is no metric imagegen_pods"),
        ('imagegen_router_pods{state="ready"} > 0', "state of imagegen_router_pods is never ready"),
        ('imagegen_router_pods{state=~"serving|up"}', "state of imagegen_router_pods is never serving|up"),
        ('imagegen_operator_models{ready="false"}', "ready of imagegen_operator_models is never false"),
        ('imagegen_operator_models{status="True"}', "imagegen_operator_models has no label status"),
        ('imagegen_images_total{model="one"}', "imagegen_images_total has no label model"),
        ('imagegen_router_requests_total{status=~"6.."}', "status of imagegen_router_requests_total is never 6.."),
        ('imagegen_router_requests_total{code!="gone"}', "code of imagegen_router_requests_total is never gone"),
        ("sum by (namespace, model) (imagegen_images_total)", "no metric of the expression has a label model"),
    ],
)
def test_what_nobody_exposes_is_found(expression: str, complaint: str, known: Exposed) -> None:
    assert list(complaints(expression, known)) == [complaint]
