"""ImageModels and EndpointSlices of a namespace, by watches."""

import asyncio

from imagegen_contract import names
from imagegen_kube.connection import Connection
from imagegen_kube.informer import Informer
from imagegen_router.discovery import Found
from imagegen_router.discovery.objects import addresses_of, models_of


class InCluster:
    """Tells of all models and pods, once both are known, and whenever one changes."""

    def __init__(self, connection: Connection, namespace: str, found: Found) -> None:
        inside = f"namespaces/{namespace}"
        self._models = Informer(
            connection, f"/apis/{names.API_GROUP}/{names.API_VERSION}/{inside}/{names.PLURAL}", "", self._changed
        )
        self._slices = Informer(
            connection, f"/apis/discovery.k8s.io/v1/{inside}/endpointslices", names.MODEL_LABEL, self._changed
        )
        self._found = found
        self._telling: asyncio.Handle | None = None

    async def run(self) -> None:
        """Watch, for ever."""
        await asyncio.gather(self._models.run(), self._slices.run())

    def _changed(self) -> None:
        # Many changes come at once, say at a rollout: they are told together.
        if self._telling is None and self._models.complete and self._slices.complete:
            self._telling = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = None
        self._found(models_of(self._models.objects.values()), addresses_of(self._slices.objects.values()))
