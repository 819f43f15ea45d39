"""When a status is written: once, when Kubernetes took note of the Deployment; or anyway when it never does."""

import asyncio
import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagegen_contract import names
from imagegen_contract.server_status import ServerStatus
from imagegen_operator.errors import ApiError
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Manifest
from imagegen_operator.reconcile import Reconciler
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.store import Store
from imagegen_operator.transitions import EventText
from operator_scenes import IMAGE, condition, image_model

WAITS = 30.0
"""Seconds that a status waits for Kubernetes to take note."""


class Cluster:
    """Keeps what is written and tells the store of it. No controller works here."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.statuses = 0
        self.refuses: Kind | None = None
        self.store = Store(lambda _: None)
        self._version = 0

    def put(self, manifest: Manifest) -> dict[str, Any]:
        """Keep an object; a new spec is a new generation."""
        self._version += 1
        key = manifest["kind"], manifest["metadata"]["name"]
        before = self.objects.get(key, {})
        generation = before.get("metadata", {}).get("generation", 0) + (manifest.get("spec") != before.get("spec"))
        given = {"namespace": "there", "uid": str(key), "resourceVersion": str(self._version), "generation": generation}
        new = {**before, **copy.deepcopy(dict(manifest)), "metadata": {**manifest["metadata"], **given}}
        self.objects[key] = new
        self.store.put(Kind(key[0]), new)
        return new

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return the object, None when there is none."""
        assert namespace == "there"
        return self.objects.get((kind, name))

    async def apply(self, manifest: Manifest) -> Manifest:
        """Write an object."""
        if manifest["kind"] == self.refuses:
            raise ApiError(422, "Invalid", "that is wrong")
        return self.put(manifest)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Write a status."""
        self.statuses += 1
        model = self.objects[manifest["kind"], manifest["metadata"]["name"]]
        return self.put({**model, "status": manifest["status"]})

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Forget what people are told."""

    def of(self, pods: tuple[Manifest, ...]) -> Mapping[str, ServerStatus]:
        """Return what no pod says."""
        assert pods == ()
        return {}


class Scene:
    """An ImageModel, a clock, and someone who looks."""

    def __init__(self, **spec: Any) -> None:
        self.cluster = Cluster()
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        settings = OperatorSettings(namespace="there", server_image=IMAGE)
        self._reconciler = Reconciler(self.cluster.store, self.cluster, self.cluster, settings, lambda: self.clock)
        self.edit(**spec)

    def edit(self, **spec: Any) -> None:
        """Write the ImageModel."""
        self.cluster.put(image_model("one", replicas=0, **spec))

    def look(self, later: float = 0.0) -> float | None:
        """Return the seconds after which to look again."""
        self.clock += timedelta(seconds=later)
        return asyncio.run(self._reconciler.reconcile("one"))

    def take_note(self) -> None:
        """Do what the controller of Deployments does."""
        deployment = self.cluster.objects["Deployment", "one"]
        status = {"observedGeneration": deployment["metadata"]["generation"], "replicas": 0}
        self.cluster.put({**deployment, "status": status})

    @property
    def ready(self) -> dict[str, Any]:
        """The condition Ready."""
        return condition(self.cluster.objects[names.KIND, "one"], "Ready")


def test_a_new_model_is_told_of_once() -> None:
    scene = Scene()
    assert (scene.look(), scene.cluster.statuses) == (WAITS, 0)
    scene.take_note()
    assert (scene.look(0.02), scene.cluster.statuses) == (None, 1)
    assert (scene.ready["status"], scene.ready["reason"]) == ("True", "ScaledToZero")
    assert (scene.look(), scene.cluster.statuses) == (None, 1)


def test_an_edit_is_told_of_once() -> None:
    scene = Scene()
    scene.look()
    scene.take_note()
    scene.look()
    scene.edit(inference={"steps": 3})
    assert (scene.look(), scene.cluster.statuses) == (WAITS, 1)
    scene.take_note()
    assert (scene.look(1.0), scene.cluster.statuses) == (None, 2)
    assert scene.ready["observedGeneration"] == 2


def test_what_kubernetes_never_takes_note_of_is_told_anyway() -> None:
    """Its controllers may be down; looks in between, for whatever reason, do not put that off."""
    scene = Scene()
    assert scene.look() == WAITS
    assert scene.look(10.0) == WAITS - 10.0
    assert scene.look(19.0) == 1.0
    assert (scene.look(1.0), scene.cluster.statuses) == (None, 1)
    assert (scene.ready["reason"], scene.ready["message"]) == (
        "RollingOut",
        "The newest spec is about to be rolled out.",
    )
    scene.take_note()
    scene.look()
    assert scene.ready["reason"] == "ScaledToZero"


def test_a_refusal_does_not_wait() -> None:
    scene = Scene()
    scene.look()
    scene.cluster.refuses = Kind.SERVICE
    del scene.cluster.objects["Service", "one"]
    scene.cluster.store.replace(Kind.SERVICE, [], 1000)
    with pytest.raises(ApiError, match="that is wrong"):
        scene.look()
    reconciled = condition(scene.cluster.objects[names.KIND, "one"], "Reconciled")
    assert (reconciled["reason"], scene.cluster.statuses) == ("ApplyFailed", 1)
