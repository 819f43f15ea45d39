"""Whether what is there is what the operator wants: after a write it is, after an edit of what it wrote it is not."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import golden_models
from cluster.api import Api, ApiError
from golden_models import SPECS, Json
from imagegen_contract import names
from imagegen_operator.resources.comparison import covers, digest

Path = tuple[str | int, ...]
WRITTEN = [each for name in SPECS for each in golden_models.manifests(name)]
UNSTORED = ("", [], {})
MERGED = {"containers", "env", "ports", "volumes", "volumeMounts", "imagePullSecrets", "ownerReferences"}
"""Lists to which others may add, as Kubernetes documents them: lists of type map."""
ATOMIC = {"selector", "nodeSelector", "requiredDuringSchedulingIgnoredDuringExecution"}
"""Maps that have one owner."""


def at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Give the path of each text, number, boolean, and of what is empty."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not items:
        yield path
    for name, each in items:
        yield from leaves(each, (*path, name))


def branches(document: Any, path: Path = ()) -> Iterator[Path]:
    """Give the path of every map and list."""
    if isinstance(document, dict | list):
        yield path
        for name, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from branches(value, (*path, name))


def with_another_value(document: Json, path: Path) -> Json:
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = "another"
    return changed


def without(document: Json, path: Path) -> Json:
    changed = copy.deepcopy(document)
    del at(changed, path[:-1])[path[-1]]
    return changed


def with_more(document: Json, path: Path) -> Json:
    """Return the document with something added to the map or list at ``path``."""
    changed = copy.deepcopy(document)
    there = at(changed, path)
    if isinstance(there, dict):
        there["somebody.example/own"] = "theirs"
    else:
        there.append(dict.fromkeys(("name", "mountPath", "containerPort", "uid"), "theirs"))
    return changed


def may_be_added_to(path: Path) -> bool:
    """Return whether others may add to the map or list at ``path``."""
    inside_atomic = any(part in ATOMIC for part in path)
    indices = [n for n, part in enumerate(path) if isinstance(part, int)]
    inside_list = any(path[n - 1] not in MERGED for n in indices)
    return not inside_atomic and not inside_list


@pytest.mark.parametrize("document", WRITTEN, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_any_edit_of_what_was_written_shows(document: Json) -> None:
    assert covers(document, document)
    for path in leaves(document):
        assert not covers(with_another_value(document, path), document), path
        if at(document, path) not in UNSTORED or path[-1] == "emptyDir":
            assert not covers(without(document, path), document), path


@pytest.mark.parametrize("document", WRITTEN, ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_what_others_add_is_no_difference_where_kubernetes_lets_them(document: Json) -> None:
    for path in branches(document):
        is_list = isinstance(at(document, path), list)
        theirs = may_be_added_to(path) and (not is_list or path[-1] in MERGED)
        assert covers(with_more(document, path), document) == theirs, path


DOCUMENTS = st.sampled_from(WRITTEN)


@settings(max_examples=25)
@given(DOCUMENTS, st.data())
def test_what_others_add_hides_no_edit(document: Json, data: st.DataObject) -> None:
    additions = [path for path in branches(document) if may_be_added_to(path)]
    lists = {path for path in additions if isinstance(at(document, path), list)}
    chosen = data.draw(st.lists(st.sampled_from([p for p in additions if p not in lists or p[-1] in MERGED])))
    edit = data.draw(st.sampled_from(list(leaves(document))))
    added = document
    for path in chosen:
        added = with_more(added, path)
    assert covers(added, document)
    assert not covers(with_another_value(added, edit), document)


def test_the_order_of_named_things_is_no_difference() -> None:
    (document,) = (each for each in golden_models.manifests("everything-overridden") if each["kind"] == "Deployment")
    turned = copy.deepcopy(document)
    pod = turned["spec"]["template"]["spec"]
    for there in (pod["volumes"], pod["containers"][0]["env"], pod["containers"][0]["ports"]):
        there.reverse()
    assert covers(turned, document)
    pod["tolerations"].reverse()
    assert not covers(turned, document)


def test_the_digest_is_of_the_content() -> None:
    documents = {digest(each) for each in WRITTEN}
    assert len(documents) == len(WRITTEN)
    for each in WRITTEN:
        assert digest(dict(reversed(each.items()))) == digest(each)
        assert {digest(without(each, path)) for path in leaves(each)}.isdisjoint({digest(each)})


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_no_edit_that_the_api_server_takes_is_hidden_by_its_defaults(kubernetes: Api, name: str) -> None:
    (wanted,) = (each for each in golden_models.manifests(name) if each["kind"] == "Deployment")
    wanted["metadata"]["namespace"] = kubernetes.namespace
    del wanted["metadata"]["ownerReferences"]  # garbage collection takes what has an owner that is not there
    wanted["spec"]["replicas"] = 0
    live = kubernetes.apply(wanted, manager=names.OPERATOR)
    paths = [path for path in leaves(wanted["spec"]) if at(wanted["spec"], path) not in UNSTORED]
    edited = {path: taken for path in paths if (taken := edit(kubernetes, live, path))}
    assert [path for path, taken in edited.items() if covers(taken, wanted)] == []
    assert len(edited) > len(paths) / 2


def edit(kubernetes: Api, live: Json, path: Path) -> Json | None:
    """Return the live object as it would be stored with another value at ``path`` of its spec; None when refused."""
    changed = without(live, ("metadata", "resourceVersion"))
    value = at(live["spec"], path)
    other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else "another"
    at(changed["spec"], path[:-1])[path[-1]] = other
    try:
        return kubernetes.request(
            "PUT", kubernetes.path("Deployment", live["metadata"]["name"]), changed, params={"dryRun": "All"}
        )
    except ApiError:
        return None
