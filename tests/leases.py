"""A Lease as an API server keeps it, and the ways to it of several candidates, each with its own faults."""

import asyncio
import copy
from typing import Any, Literal

from imagegen_operator.errors import ApiError, Conflict, Unreachable
from imagegen_operator.kinds import Kind
from imagegen_operator.objects import Manifest

State = Literal["up", "down", "hangs", "late request", "late answer", "forbidden"]

LATE_SECONDS = 7.0


class OneLease:
    """What all candidates share."""

    def __init__(self, **spec: Any) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        if spec:
            self.write({"metadata": {"name": "imagegen-operator", "namespace": "there"}, "spec": spec})

    @property
    def holder(self) -> str:
        """Who has it, "" for nobody."""
        return self.lease["spec"]["holderIdentity"] if self.lease else ""

    def write(self, manifest: Manifest) -> Manifest:
        """Keep a Lease and give it a new resource version."""
        self.version += 1
        self.lease = copy.deepcopy(dict(manifest))
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


class Way:
    """One candidate's way to the Lease; ``state`` may change at any time."""

    def __init__(self, shared: OneLease) -> None:
        self.state: State = "up"
        self.writes = 0
        self._shared = shared

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return the Lease."""
        assert (kind, namespace, name) == (Kind.LEASE, "there", "imagegen-operator")
        late = await self._there()
        lease = copy.deepcopy(self._shared.lease)
        await asyncio.sleep(late)
        return lease

    async def create(self, manifest: Manifest) -> Manifest:
        """Create the Lease."""
        return await self._send(manifest, exists=False)

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write the Lease at its resource version."""
        return await self._send(manifest, exists=True)

    async def _send(self, manifest: Manifest, *, exists: bool) -> Manifest:
        """What is on its way arrives, though its sender has given up."""
        sent = asyncio.ensure_future(self._write(copy.deepcopy(manifest), exists=exists))
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(sent)

    async def _write(self, manifest: Manifest, *, exists: bool) -> Manifest:
        late = await self._there()
        version = manifest["metadata"].get("resourceVersion", "")
        known = self._shared.lease["metadata"]["resourceVersion"] if self._shared.lease else ""
        if version != known or exists != bool(self._shared.lease):
            raise Conflict(409, "Conflict", "the object has been modified")
        self.writes += 1
        written = self._shared.write(manifest)
        await asyncio.sleep(late)
        return written

    async def _there(self) -> float:
        """Travel to the API server; return the seconds that the way back takes."""
        match self.state:
            case "down":
                raise Unreachable("connection refused")
            case "forbidden":
                raise ApiError(403, "Forbidden", "leases is forbidden")
            case "hangs":
                await asyncio.Event().wait()
            case "late request":
                await asyncio.sleep(LATE_SECONDS)
            case _:
                await asyncio.sleep(0.01)
        return LATE_SECONDS if self.state == "late answer" else 0.01
