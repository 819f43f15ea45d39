"""The cache holds the newest state of everything and says which ImageModel to look at."""

from typing import Any

import pytest

from imagegen_contract import names
from imagegen_operator.kinds import Kind
from imagegen_operator.store import Store

OURS = {names.MANAGED_BY_LABEL: names.OPERATOR}


def model(name: str, version: int, *, uid: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"publisher": "p", "family": "f", "version": "v", "id": f"p/{name}", **spec},
    }


def child(name: str, owner: str, version: int, *, uid: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "labels": {**OURS, names.MODEL_LABEL: owner},
        "managedFields": [{"manager": "x"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"},
    }
    return {"metadata": metadata, **fields}


class Scene:
    """A store, and who was told about what."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.store = Store(self.told.append)

    def news(self) -> set[str]:
        """Return who was told about since the last call."""
        told = set(self.told)
        self.told.clear()
        return told


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_model_and_its_children_tell_of_the_model(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("m", 1))
    assert scene.news() == {"m"}
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 2))
    assert scene.news() == {"m"}
    scene.store.put(Kind.POD, child("m-x1", "m", 3))
    assert scene.news() == {"m"}
    assert [pod["metadata"]["name"] for pod in scene.store.pods("m")] == ["m-x1"]


def test_an_older_state_never_replaces_a_newer_one(scene: Scene) -> None:
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 9, spec={"replicas": 2}))
    scene.news()
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 8, spec={"replicas": 1}))
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 9, spec={"replicas": 1}))
    live = scene.store.child(Kind.DEPLOYMENT, "m")
    assert live is not None
    assert live["spec"]["replicas"] == 2
    assert scene.news() == set()


def test_versions_are_numbers_and_not_texts(scene: Scene) -> None:
    scene.store.put(Kind.SERVICE, child("m", "m", 99))
    scene.news()
    scene.store.put(Kind.SERVICE, child("m", "m", 100))
    assert scene.news() == {"m"}


def test_our_own_writes_tell_nobody_and_their_echo_neither(scene: Scene) -> None:
    scene.store.written(Kind.DEPLOYMENT, child("m", "m", 5))
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 5))
    assert scene.store.child(Kind.DEPLOYMENT, "m") is not None
    assert scene.news() == set()


def test_an_edit_that_came_between_shows_in_the_answer_to_our_own_write_and_tells(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("m", 5))
    scene.news()
    scene.store.written(Kind.IMAGE_MODEL, model("m", 6) | {"status": {"replicas": 1}})
    assert scene.news() == set()
    scene.store.written(Kind.IMAGE_MODEL, model("m", 8, replicas=2) | {"status": {"replicas": 1}})
    assert scene.news() == {"m"}
    scene.store.put(Kind.IMAGE_MODEL, model("m", 7, replicas=2))
    assert scene.news() == set()


def test_a_deleted_child_is_forgotten_and_tells(scene: Scene) -> None:
    scene.store.put(Kind.POD, child("m-x1", "m", 3))
    scene.news()
    scene.store.remove(Kind.POD, child("m-x1", "m", 4))
    assert scene.store.pods("m") == ()
    assert scene.news() == {"m"}


def test_what_was_deleted_does_not_come_back_through_a_list_that_began_before(scene: Scene) -> None:
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 3))
    scene.store.listing()
    scene.store.remove(Kind.DEPLOYMENT, child("m", "m", 6))
    scene.store.replace(Kind.DEPLOYMENT, [child("m", "m", 3)], version=5)
    assert scene.store.child(Kind.DEPLOYMENT, "m") is None


def test_an_object_whose_label_came_back_is_known_again(scene: Scene) -> None:
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 3))
    scene.store.remove(Kind.DEPLOYMENT, child("m", "m", 4))
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 5))
    assert scene.store.child(Kind.DEPLOYMENT, "m") is not None


def test_a_namesake_made_after_a_deletion_is_known(scene: Scene) -> None:
    scene.store.put(Kind.SERVICE, child("m", "m", 3, uid="old"))
    scene.store.remove(Kind.SERVICE, child("m", "m", 4, uid="old"))
    scene.store.put(Kind.SERVICE, child("m", "m", 5, uid="new"))
    live = scene.store.child(Kind.SERVICE, "m")
    assert live is not None
    assert live["metadata"]["uid"] == "new"


def test_news_of_a_deletion_that_come_late_leave_the_namesake_alone(scene: Scene) -> None:
    scene.store.put(Kind.SERVICE, child("m", "m", 3, uid="old"))
    scene.store.written(Kind.SERVICE, child("m", "m", 6, uid="new"))
    scene.store.remove(Kind.SERVICE, child("m", "m", 5, uid="old"))
    live = scene.store.child(Kind.SERVICE, "m")
    assert live is not None
    assert live["metadata"]["uid"] == "new"


@pytest.mark.parametrize("kind", [Kind.POD, Kind.DEPLOYMENT])
def test_an_edited_label_tells_the_former_model_too(scene: Scene, kind: Kind) -> None:
    """As people do who take a pod out of a Service to look at it."""
    scene.store.put(kind, child("m-x1", "m", 3))
    scene.news()
    scene.store.put(kind, child("m-x1", "debug", 4))
    assert scene.news() == {"m", "debug"}
    scene.store.remove(kind, child("m-x1", "debug", 5))
    assert scene.store.pods("m") == ()
    assert scene.store.pods("debug") == ()


def test_a_list_prunes_what_vanished_unseen_but_not_what_is_newer_than_itself(scene: Scene) -> None:
    scene.store.put(Kind.POD, child("ghost", "m", 3))
    scene.store.put(Kind.POD, child("known", "m", 4))
    scene.store.put(Kind.SERVICE, child("m", "m", 2))
    scene.news()
    scene.store.listing()
    scene.store.put(Kind.POD, child("newer", "m", 11))
    scene.store.replace(Kind.POD, [child("known", "m", 4)], version=10)
    assert [pod["metadata"]["name"] for pod in scene.store.pods("m")] == ["known", "newer"]
    assert scene.store.child(Kind.SERVICE, "m") is not None, "another kind's list says nothing of Services"
    assert scene.news() == {"m"}


def test_a_model_that_vanished_unseen_is_forgotten(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("m", 3))
    scene.store.listing()
    scene.store.replace(Kind.IMAGE_MODEL, [], version=9)
    assert not scene.store.models


def test_those_who_claim_a_name_are_told_when_it_is_taken_or_given_up(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("first", 1, aliases=["short"]))
    scene.store.put(Kind.IMAGE_MODEL, model("second", 2, aliases=["short"]))
    scene.store.put(Kind.IMAGE_MODEL, model("other", 3))
    assert scene.news() == {"first", "second", "other"}
    scene.store.put(Kind.IMAGE_MODEL, model("first", 4))
    assert scene.news() == {"first", "second"}
    scene.store.put(Kind.IMAGE_MODEL, model("first", 5, aliases=["short"]))
    assert scene.news() == {"first", "second"}
    scene.store.remove(Kind.IMAGE_MODEL, model("first", 6))
    assert scene.news() == {"second"}


def test_an_edit_that_changes_no_name_tells_of_itself_only(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("first", 1, aliases=["short"]))
    scene.store.put(Kind.IMAGE_MODEL, model("second", 2, aliases=["short"]))
    scene.news()
    scene.store.put(Kind.IMAGE_MODEL, model("first", 3, aliases=["short"], replicas=2))
    assert scene.news() == {"first"}


def test_a_spec_that_cannot_be_read_is_a_problem_in_words(scene: Scene) -> None:
    scene.store.put(Kind.IMAGE_MODEL, model("m", 1, replicas="many", fromTheFuture=True))
    parsed = scene.store.models["m"]
    assert parsed.spec is None
    assert "spec.replicas" in parsed.problem
    assert "spec.fromTheFuture" in parsed.problem


def test_what_nobody_reads_is_not_kept(scene: Scene) -> None:
    scene.store.put(Kind.DEPLOYMENT, child("m", "m", 1))
    live = scene.store.child(Kind.DEPLOYMENT, "m")
    assert live is not None
    assert "managedFields" not in live["metadata"]
    assert live["metadata"]["annotations"] == {"kept": "yes"}


def test_of_pods_that_are_over_the_newest_few_are_kept(scene: Scene) -> None:
    scene.store.put(Kind.POD, child("m-alive", "m", 1, status={"phase": "Running"}))
    for number in range(20):
        over = child(f"m-{number:02}", "m", 2 + number, status={"phase": "Failed"})
        over["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{number:02}Z"
        scene.store.put(Kind.POD, over)
    kept = [pod["metadata"]["name"] for pod in scene.store.pods("m")]
    assert kept == ["m-15", "m-16", "m-17", "m-18", "m-19", "m-alive"]
    scene.store.remove(Kind.POD, child("m-03", "m", 99))
    assert len(scene.store.pods("m")) == 6
