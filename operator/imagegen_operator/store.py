"""The cache: the newest known state of every object, and which ImageModel it belongs to.

Filled by the watches and by lists. Watches say nothing of what vanished while they were away, so lists also prune.
One namespace only, so a name is a key.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from imagegen_contract import names
from imagegen_contract.claims import Claimant, Claims
from imagegen_operator.kinds import CHILDREN, Kind
from imagegen_operator.models import parse_model
from imagegen_operator.objects import Manifest, Model, text_of

_FINISHED = frozenset({"Failed", "Succeeded"})
_FINISHED_KEPT = 5
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Store:
    """``changed`` is called with the name of each ImageModel that should be looked at."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._objects: dict[Kind, dict[str, Manifest]] = {kind: {} for kind in (*CHILDREN, Kind.POD)}
        self._models: dict[str, Model] = {}
        self._claims = Claims()
        self._versions: dict[tuple[Kind, str], int] = {}
        self._pods: dict[str, set[str]] = {}
        self._gone: dict[str, int] = {}
        """UIDs of what was deleted since the last list began, and when: that list may still hold it."""

    @property
    def models(self) -> Mapping[str, Model]:
        """All ImageModels by name."""
        return self._models

    def rival(self, model: str) -> str:
        """Return in words which older ImageModel has the right to one of the names of this one, "" when none has."""
        return self._claims.rival(model)

    def child(self, kind: Kind, name: str) -> Manifest | None:
        """Return the object of that kind and name that is labelled as ours."""
        return self._objects[kind].get(name)

    def pods(self, model: str) -> tuple[Manifest, ...]:
        """Return the pods of an ImageModel, by name."""
        return tuple(self._objects[Kind.POD][name] for name in sorted(self._pods.get(model, ())))

    def put(self, kind: Kind, manifest: Manifest) -> None:
        """Take the state of an object, unless a newer one is known, and tell of the change."""
        owner = self._take(kind, manifest)
        if owner is not None:
            self._changed(owner)

    def written(self, kind: Kind, manifest: Manifest) -> None:
        """Take what the API server answered to our own write, of which nobody needs to be told.

        The answer to a write of a status may hold an edit that no watch has told of yet. What the watch tells of it
        later is old by then, so that edit is told now.
        """
        name = text_of(manifest, "metadata", "name")
        before = self._models.get(name)
        self._take(kind, manifest)
        after = self._models.get(name)
        if before and after and msgspec.structs.replace(after, status=before.status) != before:
            self._changed(name)

    def remove(self, kind: Kind, manifest: Manifest) -> None:
        """Forget an object that was deleted (or whose labels no longer are ours)."""
        name, version = text_of(manifest, "metadata", "name"), version_of(manifest)
        self._gone[text_of(manifest, "metadata", "uid")] = version
        # A namesake that was made since may already be known: by our own write, or from a list.
        if version >= self._versions.get((kind, name), -1):
            self._forget(kind, name)

    def listing(self) -> None:
        """Say that lists begin: what is deleted from now on is not to come back through them."""
        self._gone.clear()

    def replace(self, kind: Kind, manifests: Iterable[Manifest], version: int) -> None:
        """Take the whole list of a kind as of ``version``, begun after ``listing``; forget what it does not hold."""
        listed: set[str] = set()
        for manifest in manifests:
            listed.add(text_of(manifest, "metadata", "name"))
            self.put(kind, manifest)
        # What a watch told while the list was made may be newer than the list.
        ghosts = [key for key, known in self._versions.items() if key[0] is kind and known <= version]
        for _, name in ghosts:
            if name not in listed:
                self._forget(kind, name)

    def _take(self, kind: Kind, manifest: Manifest) -> str | None:
        """Return the ImageModel concerned, None when a newer state is known."""
        name, version = text_of(manifest, "metadata", "name"), version_of(manifest)
        deleted = self._gone.get(text_of(manifest, "metadata", "uid"), -1)
        if version <= max(deleted, self._versions.get((kind, name), -1)):
            return None
        self._versions[kind, name] = version
        if kind is Kind.IMAGE_MODEL:
            self._take_model(parse_model(manifest))
            return name
        owner = model_of(manifest)
        self._leave_former(kind, name, owner)
        self._objects[kind][name] = _trimmed(manifest)
        if kind is Kind.POD:
            self._pods.setdefault(owner, set()).add(name)
            self._drop_finished(owner)
        return owner

    def _leave_former(self, kind: Kind, name: str, owner: str) -> None:
        """Have an object whose label was edited leave the ImageModel that it belonged to, and tell that one."""
        known = self._objects[kind].get(name)
        if known is not None and (former := model_of(known)) != owner:
            self._pods.get(former, set()).discard(name)
            self._changed(former)

    def _take_model(self, model: Model) -> None:
        self._models[model.name] = model
        # One that is going, or that nobody can read, claims nothing.
        if model.spec is None or model.deleting:
            self._tell(self._claims.remove(model.name))
        else:
            spec = model.spec
            self._tell(
                self._claims.put(Claimant(name=model.name, created=model.created, id=spec.id, aliases=spec.aliases))
            )

    def _forget(self, kind: Kind, name: str) -> None:
        self._versions.pop((kind, name), None)
        if kind is Kind.IMAGE_MODEL:
            self._models.pop(name, None)
            self._tell(self._claims.remove(name))
            return
        if manifest := self._objects[kind].pop(name, None):
            owner = model_of(manifest)
            self._pods.get(owner, set()).discard(name)
            self._changed(owner)

    def _drop_finished(self, owner: str) -> None:
        """Keep the newest few of the pods that are over: a node that refuses them leaves hundreds a minute behind."""
        pods = self._objects[Kind.POD]
        finished = [name for name in self._pods[owner] if text_of(pods[name], "status", "phase") in _FINISHED]
        if len(finished) > _FINISHED_KEPT:
            oldest = min(finished, key=lambda name: (text_of(pods[name], "metadata", "creationTimestamp"), name))
            del pods[oldest]
            self._pods[owner].discard(oldest)

    def _tell(self, models: Iterable[str]) -> None:
        for name in models:
            self._changed(name)


def model_of(manifest: Manifest) -> str:
    """Return the name of the ImageModel that a child or pod belongs to, by its label."""
    return text_of(manifest, "metadata", "labels", names.MODEL_LABEL)


def version_of(manifest: Manifest) -> int:
    """Return the resourceVersion as a number: Kubernetes promises since 1.35 that they can be compared."""
    text = text_of(manifest, "metadata", "resourceVersion")
    return int(text) if text.isdecimal() else 0


def _trimmed(manifest: Manifest) -> Manifest:
    """Return the object without what nobody here reads: managed fields are half of its size."""
    metadata: dict[str, Any] = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    if annotations := metadata.get("annotations"):
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    return {**manifest, "metadata": metadata}
