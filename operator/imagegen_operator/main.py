"""The `imagegen-operator` command: settings in, process out. The one place that reads the environment.

The main loop owns the Lease, the controller and /healthz. A standby waits for the Lease and reads nothing else; a
leader that lost it, or whose watches ended, leaves with exit code 1 and is started again by Kubernetes.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from imagegen_contract.flags import read_flags
from imagegen_contract.program import run_program
from imagegen_contract.settings import SettingsError, read_settings
from imagegen_operator.cluster import Cluster, connect
from imagegen_operator.controller import Controller
from imagegen_operator.errors import ConfigurationError, OperatorError
from imagegen_operator.health import Health
from imagegen_operator.kinds import RESOURCES, Kind
from imagegen_operator.leader import Leader
from imagegen_operator.logs import configure_logging
from imagegen_operator.metrics import Metrics
from imagegen_operator.settings import ENVIRONMENT_PREFIX, OperatorSettings

_LOG = logging.getLogger("imagegen")

_DESCRIPTION = "Run inference pods for the ImageModels of a namespace."
_DISCOVERY_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until a signal; return the exit code."""
    try:
        given = read_flags(OperatorSettings, "imagegen-operator", _DESCRIPTION, ENVIRONMENT_PREFIX, arguments)
        settings = read_settings(OperatorSettings, ENVIRONMENT_PREFIX, os.environ, given)  # noqa: TID251 - the composition root
        configure_logging(settings.log_format, settings.log_level)
        return asyncio.run(_run(settings))
    except (SettingsError, ConfigurationError) as error:
        print(f"imagegen-operator: {error}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 2


async def _run(settings: OperatorSettings) -> int:
    metrics = Metrics()
    async with connect(os.environ, metrics) as cluster:  # noqa: TID251 - the composition root
        settings = msgspec.structs.replace(settings, namespace=settings.namespace or cluster.namespace)
        process = _Process(cluster, settings, metrics)
        health = Health(settings.host, settings.port, trouble=process.trouble, absence=process.absence, metrics=metrics)
        async with health:
            _LOG.info("settings", extra={"settings": msgspec.json.encode(settings).decode()})
            _LOG.info("listening", extra={"url": health.url})
            return await process.run()


class _Process:
    """One operator: a standby first, then the leader, then gone."""

    def __init__(self, cluster: Cluster, settings: OperatorSettings, metrics: Metrics) -> None:
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics
        self._leader = Leader(cluster, settings)
        self._controller: Controller | None = None
        self._stopped = asyncio.Event()

    def trouble(self) -> str:
        """Return why the process should be started anew, "" when it should not. A standby is well."""
        if self._controller is None:
            return ""
        limit = self._settings.watch_silence_seconds
        silent = [kind for kind, age in self._controller.ages().items() if age > limit]
        return f"no sign of life from the watch of {', '.join(silent)}" if silent else ""

    def absence(self) -> str:
        """Return why this operator is not at its place yet, "" when it is: a standby too, which could lead at once.

        `helm install --wait` ends with readiness, and then there are ImageModels to wait for.
        """
        if self._controller is None:
            return "" if self._leader.stands_by else "it neither leads nor has seen another operator lead yet"
        return "" if self._controller.knows_catalog else "the catalog has not been applied yet"

    async def run(self) -> int:
        """Wait for the Lease, lead, and return the exit code."""
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, self._stopped.set)
        if not await self._before_stop(self._become_leader()):
            return 0
        self._metrics.leading(True)
        controller = self._controller = Controller(self._cluster, self._settings, self._metrics)
        try:
            return await self._lead(controller)
        finally:
            # A successor may begin as soon as nothing more is written; what is left to end here only reads.
            if not self._leader.lost.is_set():
                await self._leader.release()
            await controller.stop_watching()

    async def _become_leader(self) -> None:
        await self._until_served()
        _LOG.info("waiting for the lease", extra={"lease": self._settings.lease_name})
        await self._leader.acquire()
        _LOG.info("leading", extra={"lease": self._settings.lease_name})

    async def _until_served(self) -> None:
        """Wait until the API server answers and knows ImageModels: without them kopf would be deaf for ever."""
        resource = RESOURCES[Kind.IMAGE_MODEL]
        while True:
            try:
                served = await self._cluster.discover(resource.api_version)
                cause = "" if resource.plural in served else "the API server knows no ImageModels; install the CRD"
            except OperatorError as error:
                cause = str(error)
            if not cause:
                return
            _LOG.warning("waiting for the API server", extra={"cause": cause, "again_seconds": _DISCOVERY_SECONDS})
            await asyncio.sleep(_DISCOVERY_SECONDS)

    async def _lead(self, controller: Controller) -> int:
        running = asyncio.create_task(self._before_stop(controller.run()))
        lost = asyncio.create_task(self._leader.lost.wait())
        await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, lost):
            task.cancel()
        ended, _ = await asyncio.gather(running, lost, return_exceptions=True)
        if self._leader.lost.is_set():
            _LOG.error("the lease was lost; another operator may lead now")
        elif isinstance(ended, Exception):
            _LOG.error("the controller ended", exc_info=ended)
        return 0 if self._stopped.is_set() else 1

    async def _before_stop(self, work: Coroutine[Any, Any, None]) -> bool:
        """Return True when ``work`` came to its end, False when it was cut short by a signal."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
                return True
            return False
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)


def run() -> None:
    """Run and leave without waiting for kopf's thread, which has nothing to finish."""
    code = run_program("imagegen-operator", main)
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    run()
