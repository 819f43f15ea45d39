"""Which models are loaded on this device, which are being loaded, and why one is not.

A request holds a lease on its model while it runs, so that nothing takes the weights away under it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from imagegen_contract.catalog import UnknownModelError, resolve
from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import ModelState, ModelStatus
from imagegen_server.errors import ModelNotFound, ModelNotReady
from imagegen_server.generation import ModelFacts
from imagegen_server.jobs import Pipeline
from imagegen_server.sources import Source, SourceError, split_source

_LOG = logging.getLogger(__name__)

_LOADING_RETRY_SECONDS = 5.0
"""When to look again while a model loads: about what loading a small model takes."""


@runtime_checkable
class TextPipeline(Pipeline, Protocol):
    """A pipeline that can also count the tokens of a prompt, from any thread."""

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text``."""
        ...


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can serve."""

    spec: ImageModelSpec
    facts: ModelFacts
    pipeline: TextPipeline


class Loader(Protocol):
    """Turns a folder of weights into a pipeline on the device."""

    async def load(self, folder: Path, spec: ImageModelSpec) -> LoadedModel:
        """Load; raise RuntimeError with the cause in words."""
        ...


class _Slot:
    """What is known of one model of the catalog."""

    def __init__(self, spec: ImageModelSpec) -> None:
        self.spec = spec
        self.state: ModelState = "unloaded"
        self.stage = ""
        self.error = ""
        self.load_seconds = 0.0
        self.model: LoadedModel | None = None
        self.leases = 0

    def status(self) -> ModelStatus:
        facts = self.model.facts if self.model else None
        return ModelStatus(
            id=self.spec.id,
            state=self.state,
            stage=self.stage,
            device=facts.device if facts else "",
            dtype=facts.dtype if facts else "",
            load_seconds=round(self.load_seconds, 3),
            error=self.error,
        )


class ModelStore:
    """The models of this server. Event loop only."""

    def __init__(self, specs: Sequence[ImageModelSpec], sources: Mapping[str, Source], loader: Loader) -> None:
        self._slots = {spec.id: _Slot(spec) for spec in specs}
        self._sources = sources
        self._loader = loader

    @property
    def specs(self) -> tuple[ImageModelSpec, ...]:
        """The catalog."""
        return tuple(slot.spec for slot in self._slots.values())

    def find(self, name: str) -> ImageModelSpec:
        """Return the model that ``name`` means; raise ModelNotFound with the names that are near."""
        try:
            return resolve(name, self.specs)
        except UnknownModelError as error:
            near = error.near or tuple(self._slots)
            hint = "did you mean" if error.near else "models here"
            raise ModelNotFound(f"model {name[:128]!r} does not exist; {hint}: {', '.join(near)}") from None

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Return the state of every model."""
        return tuple(slot.status() for slot in self._slots.values())

    def loaded(self, model_id: str) -> LoadedModel | None:
        """Return the loaded model, None when it is not."""
        return self._slots[model_id].model

    def announce(self, model_ids: Sequence[str]) -> None:
        """Say that these models are going to be loaded, one after another: until then they are not unavailable."""
        for model_id in model_ids:
            self._slots[model_id].state, self._slots[model_id].stage = "loading", "waiting for its turn"

    async def load(self, model_id: str) -> bool:
        """Load one model of the catalog; return whether it can serve. A failure is kept as the model's state."""
        slot = self._slots[model_id]
        slot.state, slot.error = "loading", ""
        started = time.monotonic()
        try:
            slot.stage = "fetching weights"
            folder = await asyncio.to_thread(self._fetch, slot.spec)
            slot.stage = "loading weights"
            slot.model = await self._loader.load(folder, slot.spec)
        except Exception as error:  # noqa: BLE001 - a model must never stay "loading" for good
            # RuntimeErrors are words for people; anything else was not foreseen, and the log gets its traceback.
            foreseen = isinstance(error, RuntimeError)
            cause = str(error) if foreseen else f"{type(error).__name__}: {error}"
            slot.state, slot.stage, slot.error = "failed", "", cause
            _LOG.error(
                "model failed to load", exc_info=None if foreseen else error, extra={"model": model_id, "cause": cause}
            )
            return False
        slot.state, slot.stage, slot.load_seconds = "ready", "", time.monotonic() - started
        facts = {"model": model_id, "device": slot.model.facts.device, "load_seconds": round(slot.load_seconds, 2)}
        _LOG.info("model ready", extra={**facts, "cpu_seconds": round(time.process_time(), 3)})
        return True

    @asynccontextmanager
    async def lease(self, spec: ImageModelSpec) -> AsyncGenerator[LoadedModel]:
        """Hold the model while a request uses it; raise ModelNotReady when it cannot serve now."""
        slot = self._slots[spec.id]
        if slot.model is None:
            raise _not_ready(slot)
        slot.leases += 1
        try:
            yield slot.model
        finally:
            slot.leases -= 1

    def _fetch(self, spec: ImageModelSpec) -> Path:
        scheme, reference = split_source(spec.weights)
        if scheme not in self._sources:
            known = ", ".join(f"{name}://" for name in self._sources)
            raise SourceError(f"source {spec.weights}: this server cannot load from {scheme}://; it can from {known}")
        return self._sources[scheme].fetch(reference)


def _not_ready(slot: _Slot) -> ModelNotReady:
    model_id = slot.spec.id
    if slot.state == "failed":
        return ModelNotReady(ErrorCode.MODEL_FAILED, f"model {model_id} failed to load: {slot.error}", "model")
    if slot.state == "loading":
        message = f"model {model_id} is being loaded ({slot.stage}); try again in a moment"
        return ModelNotReady(ErrorCode.MODEL_LOADING, message, "model", retry_after=_LOADING_RETRY_SECONDS)
    message = f"model {model_id} is in the catalog but not loaded here; start the server with --load {model_id}"
    return ModelNotReady(ErrorCode.MODEL_UNAVAILABLE, message, "model")
