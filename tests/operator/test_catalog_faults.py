"""A catalog meets an API server that refuses: what one entry costs the others, and what is tried again."""

import asyncio
import json
from typing import Any

import pytest

from imagegen_operator.catalog import CatalogApplier
from imagegen_operator.errors import ApiError, Cause, Conflict, NotFound, OperatorError, Unreachable
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.transitions import EventText

SETTINGS = OperatorSettings(catalog="models_info.json", namespace="there")


class Models:
    """ImageModels by name; ``refusals`` are raised for those of that name, ``events`` when an Event is written."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.refusals: dict[str, list[OperatorError]] = {}
        self.events: OperatorError | None = None

    async def list_all(self, kind: Kind, namespace: str, label_selector: str = "") -> tuple[list[Manifest], str]:
        """Return what there is."""
        assert (kind, namespace, label_selector) == (Kind.IMAGE_MODEL, "there", "")
        return list(self.known.values()), "1"

    async def apply(self, manifest: Manifest, *, field_manager: str, force: bool) -> Manifest:
        """Keep it, unless a refusal waits for its name."""
        name = manifest["metadata"]["name"]
        assert (field_manager, force) == ("imagegen-catalog", False)
        if self.refusals.get(name):
            raise self.refusals[name].pop(0)
        metadata = {**manifest["metadata"], "uid": f"uid of {name}", "generation": 1}
        self.known[name] = {**manifest, "metadata": metadata}
        return self.known[name]

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Forget it."""
        assert (kind, namespace, uid) == (Kind.IMAGE_MODEL, "there", f"uid of {name}")
        del self.known[name]
        if self.refusals.get(name):
            raise self.refusals[name].pop(0)

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Raise what the test wants."""
        if self.events:
            raise self.events
        raise AssertionError(f"an Event of {regarding['name']}: {event}")


def sync(models: Models, *ids: str) -> list[str]:
    entries = [{"publisher": "a", "family": "sd", "version": "1", "id": each, "replicas": 1} for each in ids]
    return asyncio.run(CatalogApplier(models, SETTINGS, Metrics()).sync(json.dumps(entries).encode()))


@pytest.mark.parametrize("status", [400, 403, 409, 413, 422, 500])
def test_a_refusal_of_one_entry_keeps_no_other_back(status: int) -> None:
    models = Models()
    assert sync(models, "old") == []
    refusal = Conflict if status == 409 else ApiError
    models.refusals["one"] = [refusal(status, "Wrong", "that is wrong")]
    assert sync(models, "one", "two") == [f"ImageModel one: that is wrong (HTTP {status})"]
    assert set(models.known) == {"two"}, "and what left the catalog is removed"


@pytest.mark.parametrize(
    "error",
    [Unreachable("no answer"), *(ApiError(status, "", "not now") for status in (401, 429, 502, 503, 504))],
    ids=str,
)
def test_what_the_next_entry_would_meet_too_ends_the_attempt(error: OperatorError) -> None:
    models = Models()
    models.refusals["one"] = [error]
    with pytest.raises(OperatorError, match=str(error).split("(")[0]):
        sync(models, "one", "two")
    assert models.known == {}


def test_an_event_that_cannot_be_written_is_no_failure() -> None:
    models = Models()
    taken = Conflict(409, "Conflict", "taken", (Cause("FieldManagerConflict", "kubectl", ".spec.replicas"),))
    models.refusals["one"] = [taken]
    models.events = Unreachable("no answer")
    assert sync(models, "one", "two") == []
    assert "replicas" not in models.known["one"]["spec"]
    assert models.known["two"]["spec"]["replicas"] == 1


def test_fields_that_are_taken_again_and_again_are_given_up_in_words() -> None:
    models = Models()
    causes = [Cause("FieldManagerConflict", "kubectl", f".spec.{field}") for field in ("replicas", "family", "version")]
    models.refusals["one"] = [Conflict(409, "Conflict", "taken", (cause,)) for cause in causes]
    assert sync(models, "one") == [
        "ImageModel one: other managers took fields 3 times while it was applied (HTTP 409)",
    ]


@pytest.mark.parametrize("error", [NotFound(404, "", "gone"), Conflict(409, "", "another one")], ids=str)
def test_what_somebody_else_deleted_first_is_gone(error: OperatorError) -> None:
    models = Models()
    sync(models, "one")
    models.refusals["one"] = [error]
    assert sync(models) == []
