"""What the leader runs: cache, watches, queue, workers, progress of pods, catalog. A standby has none of it."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from imagegen_contract.conditions import ConditionType
from imagegen_operator import workers
from imagegen_operator.catalog import CatalogApplier
from imagegen_operator.cluster import Cluster
from imagegen_operator.errors import OperatorError
from imagegen_operator.kinds import WATCHED, Kind, label_selector
from imagegen_operator.metrics import Metrics
from imagegen_operator.objects import Manifest
from imagegen_operator.progress import ServerReports
from imagegen_operator.queue import WorkQueue
from imagegen_operator.reconcile import Reconciler
from imagegen_operator.settings import OperatorSettings
from imagegen_operator.store import Store
from imagegen_operator.watching import Watches

_LOG = logging.getLogger("imagegen.controller")

_RETRY_SECONDS = 2.0


class WatchesEnded(OperatorError):
    """kopf ended by itself: without watches the process is deaf."""


class Controller:
    """Belongs to the main loop. ``settings.namespace`` is filled in."""

    def __init__(self, cluster: Cluster, settings: OperatorSettings, metrics: Metrics) -> None:
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics
        self.queue = WorkQueue(random.Random())  # noqa: S311 - jitter, nothing secret
        self.store = Store(self.queue.add)
        self._reports = ServerReports(self.store, self.queue.add)
        self._watches = Watches(cluster.way, settings.namespace, settings.watch_silence_seconds, self._received)
        self._reconciler = Reconciler(self.store, cluster, self._reports, settings, lambda: datetime.now(UTC))
        self._catalog = CatalogApplier(cluster, settings, metrics) if settings.catalog else None
        metrics.observe(lambda: len(self.queue), self.ages, self._ready_counts)

    @property
    def knows_catalog(self) -> bool:
        """Whether the catalog was applied once, as far as that was possible; True where there is none."""
        return self._catalog is None or self._catalog.tried

    def ages(self) -> Mapping[Kind, float]:
        """Return the seconds since the last sign of life of each watch."""
        return self._watches.ages()

    async def run(self) -> None:
        """Work until it is cancelled. Raise WatchesEnded when there is nothing more to hear."""
        # Nothing is written before the cache is whole: what is absent from it would be taken for missing.
        await self._fill()
        self._watches.start()
        async with asyncio.TaskGroup() as group:
            for worker in range(self._settings.workers):
                group.create_task(workers.work(self.queue, self._reconciler, self._metrics), name=f"worker {worker}")
            group.create_task(self._reports.run(self._settings.status_poll_seconds), name="progress")
            group.create_task(self._resync(), name="resync")
            group.create_task(self._listen(), name="watches")
            if self._catalog:
                group.create_task(self._catalog.run(), name="catalog")

    async def stop_watching(self) -> None:
        """End the watches, after ``run`` has ended."""
        await self._watches.stop()

    def _ready_counts(self) -> Mapping[tuple[str, str], int]:
        conditions = (each.status.conditions for each in self.store.models.values())
        summaries = (next((c for c in each if c.type == ConditionType.READY), None) for each in conditions)
        return Counter((each.status, each.reason) for each in summaries if each)

    def _received(self, kind: Kind, gone: bool, manifest: Manifest) -> None:
        if gone:
            self.store.remove(kind, manifest)
        else:
            self.store.put(kind, manifest)

    async def _listen(self) -> None:
        await self._watches.ended.wait()
        raise WatchesEnded("the watches ended")

    async def _fill(self) -> None:
        while True:
            try:
                await self._list_all()
            except OperatorError as error:
                _LOG.warning("the first lists failed", extra={"cause": str(error), "again_seconds": _RETRY_SECONDS})
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _resync(self) -> None:
        """List everything now and then: watches do not tell of what vanished while they were away."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            try:
                await self._list_all()
            except OperatorError as error:
                _LOG.warning("resync failed", extra={"cause": str(error)})
                continue
            for name in self.store.models:
                self.queue.add(name)

    async def _list_all(self) -> None:
        self.store.listing()
        for kind in WATCHED:
            items, version = await self._cluster.list_all(kind, self._settings.namespace, label_selector(kind))
            self.store.replace(kind, items, int(version))
