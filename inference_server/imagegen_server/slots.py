"""What is known of one model of the catalog: its state, its progress, why it cannot serve."""

import asyncio
import math
import time
from typing import Protocol, runtime_checkable

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import DownloadProgress, ModelState, ModelStatus
from imagegen_server.errors import LoadError
from imagegen_server.generation import ModelFacts
from imagegen_server.jobs import Pipeline
from imagegen_server.residency import Resident
from imagegen_web.errors import ModelNotReady

_LOADING_RETRY_SECONDS = 5.0
"""When to look again while a model loads and nothing better is known: about what loading a small model takes."""


@runtime_checkable
class TextPipeline(Pipeline, Protocol):
    """A pipeline that can also count the tokens of a prompt, from any thread."""

    def count_tokens(self, text: str) -> int:
        """Return the text tokens of ``text``."""
        ...


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that can serve. ``revision`` is the commit of its weights, "" where there is none."""

    facts: ModelFacts
    pipeline: TextPipeline
    revision: str = ""


class Changes:
    """Wakes everyone who waits for something to change. Event loop only."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._event.wait()

    def notify(self) -> None:
        """Wake all who wait now."""
        self._event.set()
        self._event = asyncio.Event()


class Slot:
    """One model of the catalog. Event loop only, but for ``progress``, which the fetching threads write."""

    def __init__(self, spec: ImageModelSpec) -> None:
        self.spec = spec
        self.state: ModelState = "unloaded"
        self.stage = ""
        self.progress: DownloadProgress | None = None
        self.failure: LoadError | None = None
        self.next_try_at: float | None = None
        self.load_seconds = 0.0
        self.reserved_bytes = 0
        """Room kept for a load under way."""
        self.model: LoadedModel | None = None
        self.leases = 0
        """Requests that use the model."""
        self.waiting = 0
        """Requests that wait for it to be loaded."""
        self.loaded_at = 0.0
        self.last_used = 0.0
        self.closed = ""
        """Why no new request may use the loaded model any more; it leaves when the last one is done."""
        self.task: asyncio.Task[None] | None = None
        """The load under way."""

    @property
    def usable(self) -> bool:
        """Whether a request can use the model now."""
        return self.model is not None and not self.closed

    @property
    def memory_bytes(self) -> int:
        """What the model takes on the device, or is going to."""
        return self.model.facts.memory_bytes if self.model else self.reserved_bytes

    def begin(self, stage: str) -> None:
        """Say that a load is under way."""
        self.state, self.stage, self.progress, self.next_try_at = "loading", stage, None, None

    def loaded(self, model: LoadedModel, load_seconds: float) -> None:
        """Take in a model that is on the device."""
        self.model, self.load_seconds, self.reserved_bytes = model, load_seconds, 0
        self.loaded_at = self.last_used = time.monotonic()
        self.state, self.stage, self.progress, self.failure = "ready", "", None, None

    def failed(self, failure: LoadError, next_try: float | None = None) -> None:
        """Keep why the model cannot be loaded. With ``next_try`` (seconds) it is still loading: only later."""
        self.failure, self.reserved_bytes, self.progress = failure, 0, None
        self.state, self.stage = ("failed", "") if next_try is None else ("loading", "waiting for its next try")
        self.next_try_at = None if next_try is None else time.monotonic() + next_try

    def emptied(self) -> None:
        """Say that nothing of the model is on the device and nothing is under way."""
        self.model, self.closed, self.failure, self.reserved_bytes = None, "", None, 0
        self.state, self.stage, self.progress, self.next_try_at = "unloaded", "", None, None

    def resident(self) -> Resident:
        """Return what residency decides by."""
        return Resident(
            id=self.spec.id,
            memory_bytes=self.memory_bytes,
            # Who waited for the load is as good as there: the model must not leave before they have had it.
            leases=self.leases if self.closed else self.leases + self.waiting,
            last_used=self.last_used,
            # A closed model has had its turn.
            loaded_at=-math.inf if self.closed else self.loaded_at,
            load_seconds=self.load_seconds,
        )

    def status(self) -> ModelStatus:
        """Return the contract's view."""
        facts = self.model.facts if self.model else None
        return ModelStatus(
            id=self.spec.id,
            state=self.state,
            stage=self.closed or self.stage,
            progress=self.progress,
            device=facts.device if facts else "",
            dtype=facts.dtype if facts else "",
            revision=self.model.revision if self.model else "",
            memory_bytes=facts.memory_bytes if facts else 0,
            load_seconds=round(self.load_seconds, 3),
            reason=self.failure.reason if self.failure else None,
            error=str(self.failure) if self.failure else "",
        )


def not_ready(slot: Slot) -> ModelNotReady:
    """Return why a request cannot have the model now, and when to try again."""
    model_id, failure = slot.spec.id, slot.failure
    if slot.state == "failed":
        return ModelNotReady(ErrorCode.MODEL_FAILED, f"model {model_id} failed to load: {failure}", "model")
    if slot.next_try_at is not None:
        seconds = max(1.0, slot.next_try_at - time.monotonic())
        message = f"model {model_id} could not be loaded: {failure}; the next try is in {seconds:.0f} s"
        return ModelNotReady(ErrorCode.MODEL_LOADING, message, "model", retry_after=seconds)
    progress = slot.progress
    stage = slot.closed or slot.stage or "waiting for its turn"
    eta = progress.eta_seconds if progress else None
    if progress:
        stage += f", {progress.percent:.0f} %"
    message = f"model {model_id} is being loaded ({stage}); try again in a moment"
    retry_after = _LOADING_RETRY_SECONDS if eta is None else eta
    return ModelNotReady(ErrorCode.MODEL_LOADING, message, "model", retry_after=retry_after)
