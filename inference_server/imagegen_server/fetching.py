"""Brings a model's weights onto this machine's disk, through the source that its entry names, in threads of its own.

Their own, since a download may take an hour and must not keep anything else from the event loop's worker threads.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.slots import Slot
from imagegen_server.sources import FetchCancelled, Source, SourceError, Wanted, Weights, split_source

_SIDE_BY_SIDE = 4
"""Models fetched at the same time; more would only share the line."""


class Fetcher:
    """Fetches weights. ``half`` prefers 16-bit files where there are any."""

    def __init__(self, sources: Mapping[str, Source], *, half: bool) -> None:
        self._sources = sources
        self._half = half
        self._threads = ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="fetch")

    async def fetch(self, slot: Slot) -> Weights:
        """Return the weights of the slot's model and keep its progress up to date; raise LoadError.

        Cancelling this call ends the download soon; what has arrived stays for the next one.
        """
        source, wanted = self._choose(slot.spec)
        report = _Reporter(slot)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, source.fetch, wanted, report)
        finally:
            report.abandoned.set()

    def _choose(self, spec: ImageModelSpec) -> tuple[Source, Wanted]:
        scheme, reference = split_source(spec.weights)
        if scheme not in self._sources:
            known = ", ".join(f"{name}://" for name in self._sources)
            message = f"source {spec.weights}: this server cannot load from {scheme}://; it can from {known}"
            raise SourceError(message, LoadFailure.SOURCE_UNSUPPORTED)
        return self._sources[scheme], Wanted(
            reference=reference,
            revision=spec.revision,
            config=spec.config or "",
            half=self._half,
            safety_checker=spec.inference.safety_checker,
        )


class _Reporter:
    """Keeps a fetch's progress in the slot, and ends the fetch when nobody wants it any more."""

    def __init__(self, slot: Slot) -> None:
        self.abandoned = Event()
        self._slot = slot

    def __call__(self, progress: DownloadProgress) -> None:
        if self.abandoned.is_set():
            raise FetchCancelled
        if not progress.bytes_total:
            return  # the source does not know yet how much there is
        self._slot.progress = progress
