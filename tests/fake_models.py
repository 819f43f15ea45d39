"""A source and a loader that work without weights: sizes by reference, gates where a test wants to look."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fake_pipelines import GATE_SECONDS, CountingPipeline
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.fetching import Fetcher
from imagegen_server.generation import ModelFacts
from imagegen_server.load_progress import Teller
from imagegen_server.models import ModelStore, StoreLimits
from imagegen_server.slots import LoadedModel
from imagegen_server.sources import Report, Wanted, Weights

HALFWAY = DownloadProgress(bytes_done=50, bytes_total=100, percent=50.0, bytes_per_second=10.0, eta_seconds=5.0)


class FakeSource:
    """Weights that are not there: any reference is the folder of that name.

    ``failures`` are raised one after another, by whoever comes. A gate stops fetches half-way: they report progress
    until it opens, so that an abandoned one ends.
    """

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.wanted: list[Wanted] = []
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, wanted: Wanted, report: Report) -> Weights:
        """Return the folder."""
        self.wanted.append(wanted)
        for _ in range(int(GATE_SECONDS / 0.01)):
            if self.gate.is_set():
                break
            report(HALFWAY)
            self.gate.wait(0.01)
        if self.failures:
            raise self.failures.pop(0)
        return Weights(path=Path("/weights") / wanted.reference, revision=wanted.revision)


class FakeLoader:
    """Loads CountingPipelines into a device of ``memory_budget`` bytes, and fails when that is overrun.

    The size of a model stands at the end of its reference: ``fake://one-40``. ``failures`` are raised one after
    another. ``gate`` stops loads in the middle.
    """

    def __init__(self, *failures: BaseException, budget: int = 100) -> None:
        self.memory_budget = budget
        self.failures = list(failures)
        self.loaded: list[str] = []
        """The names of the folders, in the order in which they were loaded."""
        self.given_back = 0
        self.loading = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        """Set when a load has come to the gate."""

    async def weigh(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> int:
        """Return the number in the name."""
        del spec, tell
        return int(weights.path.name.rpartition("-")[2])

    async def load(self, weights: Weights, spec: ImageModelSpec, tell: Teller) -> LoadedModel:
        """Pretend to load."""
        memory_bytes = await self.weigh(weights, spec, tell)
        report = tell.stage("reading weights")
        report(0, memory_bytes)
        self.loading += 1
        assert self.loading == 1, "two models are loaded at once"
        try:
            report(memory_bytes // 2, memory_bytes)
            self.started.set()
            await self.gate.wait()
            if self.failures:
                raise self.failures.pop(0)
            self.loaded.append(weights.path.name)
        finally:
            self.loading -= 1
        return LoadedModel(facts=facts(memory_bytes), pipeline=CountingPipeline())

    async def give_back(self) -> None:
        """Count the call."""
        self.given_back += 1


def facts(memory_bytes: int = 0) -> ModelFacts:
    """Return the facts of a model that takes so much memory."""
    return ModelFacts(
        native_size=ImageSize(128, 128),
        own_scheduler=None,
        device="cpu",
        dtype="float32",
        prompt_tokens=300,
        memory_bytes=memory_bytes,
    )


def spec(model_id: str, source: str = "", aliases: Sequence[str] = (), **changes: object) -> ImageModelSpec:
    """Return the entry of a model of 40 bytes, unless ``source`` says otherwise."""
    entry = {"publisher": "acme", "family": "sd", "version": "1", "id": model_id, "aliases": aliases, **changes}
    source = source or f"fake://{model_id.rpartition('/')[2]}-40"
    return msgspec.structs.replace(msgspec.convert(entry, ImageModelSpec), source=source)


def store(
    loader: FakeLoader, *specs: ImageModelSpec, source: FakeSource | None = None, limits: StoreLimits | None = None
) -> ModelStore:
    """Return a store of ``specs`` that fetches from ``source``."""
    return ModelStore(specs, Fetcher({"fake": source or FakeSource()}, half=True), loader, limits)
