"""Leader election by a Lease, as client-go does it: who holds it works, everybody else waits.

`kubernetes.aio.leaderelection` is not used: it neither releases the Lease at the end nor says when it was lost.

Times of other machines are never compared with the clock here: a holder is gone when its Lease did not change for as
long as it lasts, by our own clock. A Lease is no fence: for some seconds two may lead, so every write is idempotent.
"""

import asyncio
import logging
import math
import random
import socket
import uuid
from datetime import UTC, datetime
from typing import Any, Protocol

from imagegen_operator.errors import Conflict, OperatorError
from imagegen_operator.kinds import RESOURCES, Kind
from imagegen_operator.objects import Manifest
from imagegen_operator.settings import OperatorSettings

_LOG = logging.getLogger("imagegen.leader")

_RETRY_SECONDS = 1.0
"""A standby looks, and the leader renews, as often; a released Lease is taken within about that time."""

_TRIES = 5
"""Of a leader, at least so many within the time of a short Lease."""

_RELEASED_SECONDS = 1
_LAST_CALL_SECONDS = 3.0
_RENEWALS_SHARE = 2 / 3
"""The leader gives up when so much of its time is over without a renewal: before anybody may take the Lease."""


class Leases(Protocol):
    """Reads and writes Leases."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return the object, None when there is none."""
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""
        ...

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write an object at the resource version that it has."""
        ...


class Leader:
    """One candidate. ``lost`` is set when the Lease is ours no longer: not renewed in time, taken, or released."""

    def __init__(self, leases: Leases, settings: OperatorSettings) -> None:
        self.lost = asyncio.Event()
        self.stands_by = False
        """Whether another one was seen to renew the Lease: one that died may hold it still."""
        self.identity = settings.identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._leases = leases
        self._settings = settings
        self._lease: Manifest | None = None
        self._seen: tuple[Any, float] = (None, -math.inf)
        """The resource version that the Lease had when it changed last, and when that was, by our own clock."""
        self._told = ""
        self._renewing: asyncio.Task[None] | None = None
        self._retry_seconds = min(_RETRY_SECONDS, settings.lease_seconds / _TRIES)

    async def acquire(self) -> None:
        """Wait until the Lease is ours, and renew it from then on."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            if await self._attempt_within(self._limit):
                break
            await asyncio.sleep(self._retry_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        self._renewing = asyncio.create_task(self._renew(began), name="lease")

    async def release(self) -> None:
        """Let another one have the Lease at once. Never raises: it passes by itself when its time is over."""
        if self._renewing is None:
            return
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)
        try:
            async with asyncio.timeout(_LAST_CALL_SECONDS):
                while not await self._give_back():
                    pass
        except (OperatorError, TimeoutError) as error:
            _LOG.warning("the lease was not released", extra={"cause": str(error) or type(error).__name__})

    async def _give_back(self) -> bool:
        """Return False when a renewal that was cut off came in between."""
        lease = await self._leases.get(Kind.LEASE, self._settings.namespace, self._settings.lease_name)
        if lease and (lease.get("spec") or {}).get("holderIdentity") == self.identity:
            try:
                await self._leases.replace(self._manifest(lease, holder="", seconds=_RELEASED_SECONDS))
            except Conflict:
                return False
        return True

    async def _renew(self, renewed: float) -> None:
        """Renew until that fails for too long. Time counts from before a request: its answer may come late."""
        loop = asyncio.get_running_loop()
        try:
            while (left := renewed + self._limit - loop.time()) > 0:
                await asyncio.sleep(min(left, self._retry_seconds))
                began = loop.time()
                # Half of the time at most: a connection that died is closed then, and the next try has a new one.
                if await self._attempt_within(min(renewed + self._limit - began, self._limit / 2)):
                    renewed = began
                elif self._held_by_other():
                    break
        except Exception:  # noqa: BLE001 - whatever it is, nobody waits for this task and the process has to end
            _LOG.exception("the lease cannot be renewed")
        finally:
            self.lost.set()

    async def _attempt_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._attempt()
        except TimeoutError:
            self._tell("the API server does not answer in time")
            return False

    async def _attempt(self) -> bool:
        """Take or renew the Lease if that may be; return whether it is ours now."""
        try:
            lease = await self._leases.get(Kind.LEASE, self._settings.namespace, self._settings.lease_name)
            self._notice(lease)
            if lease is None:
                self._lease = await self._leases.create(self._manifest(None, self.identity, self._lease_seconds))
            elif self._may_take(lease):
                self._lease = await self._leases.replace(self._manifest(lease, self.identity, self._lease_seconds))
            else:
                self._lease, self._told = lease, ""
                return False
        except Conflict:
            return False  # another candidate was faster
        except OperatorError as error:
            self._tell(str(error))
            return False
        self._told = ""
        return True

    def _tell(self, cause: str) -> None:
        """Say what is in the way, once: it is tried every second."""
        if cause != self._told:
            _LOG.warning("the lease cannot be had", extra={"lease": self._settings.lease_name, "cause": cause})
        self._told = cause

    @property
    def _lease_seconds(self) -> int:
        return math.ceil(self._settings.lease_seconds)

    @property
    def _limit(self) -> float:
        """Seconds after which a Lease that was not renewed is lost."""
        return self._settings.lease_seconds * _RENEWALS_SHARE

    def _notice(self, lease: Manifest | None) -> None:
        version = lease["metadata"]["resourceVersion"] if lease else None
        if version != self._seen[0]:
            self.stands_by = self._seen[0] is not None and self._held_by_other()
            self._seen = (version, asyncio.get_running_loop().time())

    def _may_take(self, lease: Manifest) -> bool:
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") in {self.identity, "", None}:
            return True
        lasts = spec.get("leaseDurationSeconds") or self._lease_seconds
        return asyncio.get_running_loop().time() - self._seen[1] > lasts

    def _held_by_other(self) -> bool:
        spec = (self._lease or {}).get("spec") or {}
        return spec.get("holderIdentity") not in {self.identity, "", None}

    def _manifest(self, lease: Manifest | None, holder: str, seconds: int) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (lease or {}).get("spec") or {}
        changes = before.get("holderIdentity") != holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": seconds,
            "acquireTime": now if changes else before.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (1 if changes and holder and lease else 0),
        }
        metadata = {"name": self._settings.lease_name, "namespace": self._settings.namespace}
        return {
            "apiVersion": RESOURCES[Kind.LEASE].api_version,
            "kind": str(Kind.LEASE),
            "metadata": lease["metadata"] if lease else metadata,
            "spec": spec,
        }
