"""models_info.json -> ImageModels: the leader keeps one ImageModel for each entry of the file.

1. A file that is missing or wrong changes nothing; the log and a metric say what is wrong with it.
2. Only fields that an entry has are applied, and never by force: a field that a person or an autoscaler changed is
   theirs from then on, and an Event says so.
3. An ImageModel is deleted with its entry only if it carries this release's label. One without the label is
   somebody's own: it is neither changed nor deleted.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from imagegen_contract import names
from imagegen_contract.catalog import CatalogError
from imagegen_contract.edited_text import FileError, read_file
from imagegen_contract.manifests import image_models, read_entries
from imagegen_operator.errors import ApiError, Conflict, NotFound, OperatorError
from imagegen_operator.field_paths import without
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest, reference, text_of
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.transitions import EventText

_LOG = logging.getLogger("imagegen.catalog")

_LOOK_SECONDS = 1.0
"""A mounted ConfigMap changes by a link, which watching the file would miss; reading some kB a second costs nothing."""

_RETRY_SECONDS = 15.0
_CONFLICTS_TRIED = 3

_REFUSED_ALL = frozenset({401, 429, 502, 503, 504})
"""Refusals that the next entry would meet too. Any other speaks of one, and the others are applied all the same: even
500, with which the API server refuses a field that an older resource definition does not have.
"""


class Models(Protocol):
    """Reads and writes ImageModels."""

    async def list_all(self, kind: Kind, namespace: str, label_selector: str = "") -> tuple[list[Manifest], str]:
        """Return all objects of a kind."""
        ...

    async def apply(self, manifest: Manifest, *, field_manager: str, force: bool) -> Manifest:
        """Write an object by server-side apply."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete an object with that UID."""
        ...

    async def create_event(self, regarding: Manifest, event: EventText) -> None:
        """Tell people what happened to an object."""
        ...


class CatalogApplier:
    """Follows one file. Belongs to one event loop."""

    def __init__(
        self, models: Models, settings: OperatorSettings, metrics: Metrics, *, look_seconds: float = _LOOK_SECONDS
    ) -> None:
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._look_seconds = look_seconds
        self.tried = False
        """Whether the file was applied once, with or without success."""
        self._problems: tuple[str, ...] = ()
        """What is wrong at the moment, each told once."""
        self._applied: dict[str, tuple[Manifest, str, int]] = {}
        """What was applied last, and UID and generation of the ImageModel since: it need not be applied again."""
        self._given_up: dict[str, tuple[str, ...]] = {}
        """Fields of an ImageModel that are somebody else's."""

    async def run(self) -> None:
        """Apply the file whenever it changes, and now and then in case something was deleted."""
        loop = asyncio.get_running_loop()
        known, again = None, loop.time()
        while True:
            content = await self._read()
            if content is not None and (content != known or loop.time() >= again):
                done = await self._attempt(content)
                again = loop.time() + (self._settings.resync_seconds if done else _RETRY_SECONDS)
            known, self.tried = content, True
            await asyncio.sleep(self._look_seconds)

    async def sync(self, content: bytes) -> list[str]:
        """Apply a catalog; return what could not be done, in words. Raise CatalogError when the catalog is wrong."""
        entries = read_entries(content, self._settings.catalog)
        found, _ = await self._models.list_all(Kind.IMAGE_MODEL, self._settings.namespace)
        known = {text_of(each, "metadata", "name"): each for each in found}
        labels = {names.CATALOG_LABEL: self._settings.release}
        wanted, problems = image_models(entries, namespace=self._settings.namespace, labels=labels)
        for name, manifest in wanted.items():
            problems += await self._keep(manifest, known.get(name))
        for name, manifest in known.items():
            if name not in wanted and self._is_ours(manifest):
                await self._remove(manifest)
        return problems

    async def _read(self) -> bytes | None:
        try:
            return await asyncio.to_thread(read_file, Path(self._settings.catalog))
        except FileError as error:
            self._report([f"{self._settings.catalog}: {error}; no ImageModel is changed"])
            return None

    async def _attempt(self, content: bytes) -> bool:
        """Return whether there is nothing more to do until something changes."""
        try:
            problems = await self.sync(content)
        except CatalogError as error:
            self._report([f"{problem}; no ImageModel is changed" for problem in error.problems])
            return True
        except OperatorError as error:
            problems = [str(error)]
        self._report(problems)
        return not problems

    def _report(self, problems: Sequence[str]) -> None:
        self._metrics.catalog(well=not problems)
        for problem in problems:
            if problem not in self._problems:
                _LOG.error("catalog not applied", extra={"cause": problem})
        self._problems = tuple(problems)

    def _is_ours(self, manifest: Manifest) -> bool:
        return text_of(manifest, "metadata", "labels", names.CATALOG_LABEL) == self._settings.release

    async def _keep(self, manifest: Manifest, known: Manifest | None) -> list[str]:
        """Return what is wrong with this one; whatever concerns them all is raised."""
        name: str = manifest["metadata"]["name"]
        if known is not None and not self._is_ours(known):
            label = f"{names.CATALOG_LABEL}={self._settings.release}"
            return [
                f"ImageModel {name} is not of this catalog and is left as it is; the label {label} would hand it over"
            ]
        if known is not None and self._applied.get(name) == _applied(manifest, known):
            return []
        try:
            self._applied[name] = _applied(manifest, await self._apply(manifest, _scaled_to_zero(manifest, known)))
        except ApiError as error:
            if error.status in _REFUSED_ALL:
                raise
            return [f"ImageModel {name}: {error}"]
        return []

    async def _apply(self, manifest: Manifest, given_up: tuple[str, ...]) -> Manifest:
        """Apply what is nobody else's; return the ImageModel as it is now."""
        for _ in range(_CONFLICTS_TRIED):
            try:
                rest = without(manifest, given_up)
                written = await self._models.apply(rest, field_manager=names.CATALOG_MANAGER, force=False)
            except Conflict as error:
                fields = tuple(cause.field for cause in error.causes if cause.field)
                if not fields:
                    raise
                given_up += fields
                continue
            await self._tell(written, given_up)
            return written
        raise Conflict(409, "Conflict", f"other managers took fields {_CONFLICTS_TRIED} times while it was applied")

    async def _tell(self, written: Manifest, given_up: tuple[str, ...]) -> None:
        name = text_of(written, "metadata", "name")
        if given_up and self._given_up.get(name) != given_up:
            fields = ", ".join(field.removeprefix(".") for field in given_up)
            message = f"{fields}: changed by somebody else and stays so; the catalog's value is not used"
            _LOG.info("kept what somebody else changed", extra={"object": name, "fields": fields})
            await self._announce(written, EventText(type="Normal", reason="CatalogFieldKept", message=message))
        self._given_up[name] = given_up

    async def _announce(self, written: Manifest, event: EventText) -> None:
        metadata = written["metadata"]
        regarding = reference(metadata["namespace"], metadata["name"], metadata["uid"])
        try:
            await self._models.create_event(regarding, event)
        except OperatorError as error:
            _LOG.warning("event not written", extra={"cause": str(error)})

    async def _remove(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        try:
            await self._models.delete(Kind.IMAGE_MODEL, metadata["namespace"], metadata["name"], metadata["uid"])
        except (NotFound, Conflict):
            return  # it is gone, or a new one has its name
        _LOG.info("removed with its entry", extra={"object": metadata["name"]})


def _applied(manifest: Manifest, known: Manifest) -> tuple[Manifest, str, int]:
    return manifest, known["metadata"]["uid"], known["metadata"]["generation"]


def _scaled_to_zero(manifest: Manifest, known: Manifest | None) -> tuple[str, ...]:
    """Return the field that `kubectl scale --replicas=0` and autoscalers set, if they did and the entry says another.

    A Scale leaves a zero out, so the API server notes nobody as its owner, and no conflict would tell of it.
    """
    if known is None or known["spec"].get("replicas") != 0 or not manifest["spec"].get("replicas"):
        return ()
    held = (each.get("fieldsV1", {}).get("f:spec", {}) for each in known["metadata"].get("managedFields", ()))
    return () if any("f:replicas" in fields for fields in held) else (".spec.replicas",)
