"""Fields are taken out of a manifest by the paths that the API server writes in conflicts."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen_operator.field_paths import without

MODEL = {
    "metadata": {"name": "one", "labels": {"imagegen.dev/catalog": "r", "imagegen": "x"}},
    "spec": {
        "replicas": 1,
        "aliases": ["a", "b"],
        "inference": {"steps": 4, "sizes": ["64x64"]},
        "pod": {"env": [{"name": "A", "value": "1"}, {"name": 'B"].x', "value": "2"}], "nodeSelector": {"a.b/c": "d"}},
        "ports": [{"port": 80, "protocol": "TCP", "name": "n"}, {"port": 80, "protocol": "UDP", "name": "m"}],
    },
}


@pytest.mark.parametrize(
    ("path", "place", "left"),
    [
        pytest.param(".spec.replicas", "spec", {"replicas"}, id="a field"),
        pytest.param(".spec.inference.steps", "spec.inference", {"steps"}, id="a field inside"),
        pytest.param(".spec.inference", "spec", {"inference"}, id="an object"),
        pytest.param('.spec.aliases["b"]', "spec", {"aliases"}, id="an item of a set: the set as a whole"),
        pytest.param('.spec.aliases[="b"]', "spec", {"aliases"}, id="likewise as newer API servers write it"),
        pytest.param(".spec.inference.sizes[0]", "spec.inference", {"sizes"}, id="an item by its index: the list"),
        pytest.param(".metadata.labels.imagegen.dev/catalog", "metadata.labels", {"imagegen.dev/catalog"}, id="dots"),
        pytest.param(".metadata.labels.imagegen", "metadata.labels", {"imagegen"}, id="a name that begins another"),
        pytest.param(".spec.pod.nodeSelector.a.b/c", "spec.pod.nodeSelector", {"a.b/c"}, id="dots in a map"),
    ],
)
def test_a_field_is_taken_out(path: str, place: str, left: set[str]) -> None:
    before, after = at(MODEL, place), at(without(MODEL, [path]), place)
    assert set(before) - set(after) == left
    assert after == {name: value for name, value in before.items() if name not in left}


@pytest.mark.parametrize(
    ("path", "place", "left"),
    [
        pytest.param('.spec.pod.env[name="A"].value', "spec.pod.env", [{"name": "A"}, 1], id="a field of an item"),
        pytest.param('.spec.pod.env[name="A"]', "spec.pod.env", [1], id="an item"),
        pytest.param('.spec.pod.env[name="B\\"].x"].value', "spec.pod.env", [0, {"name": 'B"].x'}], id="an odd key"),
        pytest.param('.spec.ports[port=80,protocol="UDP"]', "spec.ports", [0], id="two keys"),
        pytest.param(
            '.spec.ports[port=80,protocol="UDP"].name', "spec.ports", [0, {"port": 80, "protocol": "UDP"}], id="both"
        ),
    ],
)
def test_an_item_is_found_by_its_keys(path: str, place: str, left: list[Any]) -> None:
    before = at(MODEL, place)
    assert at(without(MODEL, [path]), place) == [before[each] if isinstance(each, int) else each for each in left]


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".status.replicas",
        ".spec.replica",
        ".spec.replicas.x",
        ".spec.replicasx",
        '.spec.pod.env[name="C"].value',
        ".spec.ports[port=81]",
        "spec",
        "[",
    ],
)
def test_a_path_that_leads_nowhere_changes_nothing(path: str) -> None:
    assert without(MODEL, [path]) == MODEL


def test_the_manifest_itself_is_left_as_it_is() -> None:
    before = copy.deepcopy(MODEL)
    assert "replicas" not in without(MODEL, [".spec.replicas"])["spec"]
    assert before == MODEL


names = st.text(st.sampled_from('ab./[]"=-0'), min_size=1, max_size=4).filter(lambda name: not {*name} & {*"[]"})
documents = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, documents, min_size=1, max_size=3), st.data())
def test_any_field_can_be_taken_out(document: dict[str, Any], data: st.DataObject) -> None:
    """Unless its path could mean another one as well, which no API server can prevent."""
    paths = list(every_path(document))
    path, keys = data.draw(st.sampled_from([each for each in paths if [p for p, _ in paths].count(each[0]) == 1]))
    expected: Any = copy.deepcopy(document)
    inner = expected
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    left = without(document, [path])
    assert left == expected or ambiguous(document, path)


def every_path(value: Any, path: str = "", keys: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield f"{path}.{name}", (*keys, name)
        yield from every_path(inner, f"{path}.{name}", (*keys, name))


def ambiguous(document: dict[str, Any], path: str) -> bool:
    """Return whether at some object on the way two names fit."""
    return any(path.startswith(a) and path.startswith(b) for a, b in siblings(document))


def siblings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    inside = list(value) if isinstance(value, dict) else []
    yield from ((f"{path}.{a}", f"{path}.{b}") for a in inside for b in inside if a != b)
    for name in inside:
        yield from siblings(value[name], f"{path}.{name}")


def at(document: Any, place: str) -> Any:
    for name in place.split("."):
        document = document[name]
    return json.loads(json.dumps(document))
