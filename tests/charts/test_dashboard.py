"""The chart's dashboard: Grafana can place its panels, each is explained, and Prometheus understands what it asks."""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from exposed_metrics import Exposed, complaints, exposed
from promtool import promtool

DASHBOARD = Path(__file__).parents[2] / "charts/imagegen/files/dashboard.json"
COLUMNS = 24
VARIABLES = {"namespace": ".*", "model": ".*", "__rate_interval": "5m"}
"""What stands in for each variable in an expression."""


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[dict[str, Any]]:
    """Return all but the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Return what is asked of Prometheus, by a name of its own; variables are filled in."""
    asked = {f"panel_{panel['id']}_{each['refId']}": each["expr"] for panel in panels() for each in panel["targets"]}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            [(metric, label)] = re.findall(r"^label_values\((.*), (\w+)\)$", variable["definition"])
            asked[f"variable_{variable['name']}"] = f"group by ({label}) ({metric})"
    return {name: re.sub(r"\$(\w+)", lambda found: VARIABLES[found[1]], each) for name, each in asked.items()}


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


@pytest.fixture(scope="module")
def known() -> Exposed:
    return exposed()


def test_it_is_one_that_grafana_10_reads_and_any_data_source_serves() -> None:
    board = dashboard()
    assert board["schemaVersion"] >= 38
    assert "id" not in board
    variables = {each["name"]: each["type"] for each in board["templating"]["list"]}
    assert variables == {"datasource": "datasource", "namespace": "query", "model": "query"}
    sources = [each["datasource"] for panel in panels() for each in (panel, *panel["targets"])]
    sources += [each["datasource"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)


def test_it_is_written_so_that_changes_can_be_read() -> None:
    assert DASHBOARD.read_text() == json.dumps(dashboard(), indent=2) + "\n"


def test_ids_and_titles_are_unique() -> None:
    counts = [Counter(panel[key] for panel in dashboard()["panels"]) for key in ("id", "title")]
    assert [count.most_common(1)[0][1] for count in counts] == [1, 1]


def test_panels_are_inside_and_do_not_overlap() -> None:
    places = {panel["title"]: panel["gridPos"] for panel in dashboard()["panels"]}
    assert [title for title, place in places.items() if place["x"] + place["w"] > COLUMNS] == []
    pairs = combinations(places.items(), 2)
    assert [(one, other) for (one, first), (other, second) in pairs if overlap(first, second)] == []


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_a_sentence_and_a_unit(panel: dict[str, Any]) -> None:
    assert re.fullmatch(r"[A-Z0-9].*[^.]\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_prometheus_understands_each_expression(tmp_path: Path) -> None:
    asked = expressions()
    rules = [{"record": f"dashboard:{name}", "expr": each} for name, each in asked.items()]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("name", expressions())
def test_an_expression_names_metrics_and_labels_that_the_code_exposes(name: str, known: Exposed) -> None:
    assert list(complaints(expressions()[name], known)) == []


def test_a_legend_names_labels_that_its_expression_keeps() -> None:
    for panel in panels():
        for target in panel["targets"]:
            kept = {
                label.strip() for each in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in each.split(",")
            }
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, panel["title"]
