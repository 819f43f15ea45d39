"""models_info.json -> ImageModels: the leader keeps one ImageModel for each entry of the file.

1. A file that is missing or wrong changes nothing; the log and a metric say what is wrong with it.
2. Only fields that an entry has are applied, and never by force: a field that a person or an autoscaler changed is
   theirs from then on, and an Event says so.
3. An ImageModel is deleted with its entry only if it carries this release's label. One without the label is
   somebody's own: it is neither changed nor deleted.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from imagegen_contract import names
from imagegen_contract.catalog import CatalogError
from imagegen_contract.manifests import image_model, read_entries
from imagegen_operator.errors import Conflict, NotFound, OperatorError
from imagegen_operator.field_paths import without
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest, text_of
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.transitions import EventText

_LOG = logging.getLogger("imagegen.catalog")

_LOOK_SECONDS = 1.0
"""A mounted ConfigMap changes by a link, which watching the file would miss; reading some kB a second costs nothing."""

_RETRY_SECONDS = 15.0
_CONFLICTS_TRIED = 3


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

    def __init__(self, models: Models, settings: OperatorSettings, metrics: Metrics) -> None:
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._content: bytes | None = None
        """The file as it was applied last, None when it has to be applied again."""
        self._problem = ""
        self._given_up: dict[str, tuple[str, ...]] = {}
        """Fields of an ImageModel that are somebody else's."""

    async def run(self) -> None:
        """Apply the file whenever it changes, and now and then in case something was deleted."""
        loop = asyncio.get_running_loop()
        again = loop.time()
        while True:
            content = await asyncio.to_thread(self._read)
            if content is not None and (content != self._content or loop.time() >= again):
                done = await self._attempt(content)
                again = loop.time() + (self._settings.resync_seconds if done else _RETRY_SECONDS)
            await asyncio.sleep(_LOOK_SECONDS)

    async def sync(self, content: bytes) -> bool:
        """Apply a catalog; return whether all of it could be. Raise CatalogError when it is wrong."""
        entries = read_entries(content, self._settings.catalog)
        found, _ = await self._models.list_all(Kind.IMAGE_MODEL, self._settings.namespace)
        known = {text_of(each, "metadata", "name"): each for each in found}
        wanted, whole = self._wanted(entries)
        for name, manifest in wanted.items():
            whole &= await self._keep(manifest, known.get(name))
        for name, manifest in known.items():
            if name not in wanted and self._is_ours(manifest):
                await self._remove(manifest)
        return whole

    def _read(self) -> bytes | None:
        try:
            return Path(self._settings.catalog).read_bytes()
        except OSError as error:
            self._complain(f"{self._settings.catalog}: cannot be read: {error.strerror}; no ImageModel is changed")
            return None

    async def _attempt(self, content: bytes) -> bool:
        self._content = content
        try:
            done = await self.sync(content)
        except CatalogError as error:
            self._complain(f"{error}; no ImageModel is changed")
            return True  # until the file changes
        except OperatorError as error:
            self._complain(str(error))
            return False
        if done:
            self._problem = ""
            self._metrics.catalog(well=True)
        return done

    def _complain(self, problem: str) -> None:
        self._metrics.catalog(well=False)
        if problem != self._problem:
            _LOG.error("catalog not applied", extra={"cause": problem})
        self._problem = problem

    def _wanted(self, entries: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Manifest], bool]:
        """Return the ImageModels by name; of two ids that give one name, the first has it."""
        wanted: dict[str, Manifest] = {}
        labels = {names.CATALOG_LABEL: self._settings.release}
        whole = True
        for entry in entries:
            manifest = image_model(entry, namespace=self._settings.namespace, labels=labels)
            name = manifest["metadata"]["name"]
            if name in wanted:
                first = wanted[name]["spec"]["id"]
                self._complain(f"{entry['id']}: its object name {name} is that of {first} already; it is left out")
                whole = False
            wanted.setdefault(name, manifest)
        return wanted, whole

    def _is_ours(self, manifest: Manifest) -> bool:
        return text_of(manifest, "metadata", "labels", names.CATALOG_LABEL) == self._settings.release

    async def _keep(self, manifest: Manifest, known: Manifest | None) -> bool:
        if known is not None and not self._is_ours(known):
            name = text_of(known, "metadata", "name")
            self._complain(f"ImageModel {name} exists and is not of this catalog; it is left as it is")
            return False
        try:
            await self._apply(manifest)
        except Conflict as error:
            self._complain(f"ImageModel {manifest['metadata']['name']}: {error}")
            return False
        return True

    async def _apply(self, manifest: Manifest) -> None:
        """Apply what is nobody else's."""
        given_up: tuple[str, ...] = ()
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
            return
        raise Conflict(409, "Conflict", f"other managers took fields {_CONFLICTS_TRIED} times while it was applied")

    async def _tell(self, written: Manifest, given_up: tuple[str, ...]) -> None:
        name = text_of(written, "metadata", "name")
        if given_up and self._given_up.get(name) != given_up:
            fields = ", ".join(field.removeprefix(".") for field in given_up)
            message = f"{fields} was changed by somebody else and stays so; the catalog's value is not used"
            await self._models.create_event(
                _reference(written), EventText(type="Normal", reason="CatalogFieldKept", message=message)
            )
        self._given_up[name] = given_up

    async def _remove(self, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        try:
            await self._models.delete(Kind.IMAGE_MODEL, metadata["namespace"], metadata["name"], metadata["uid"])
        except (NotFound, Conflict):
            return  # it is gone, or a new one has its name
        _LOG.info("removed with its entry", extra={"object": metadata["name"]})


def _reference(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    fields = {name: metadata[name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], **fields}
