"""A dispatcher in virtual time, over pods that are only numbers."""

import asyncio
import random
from collections.abc import Iterable

from imagegen_router.costs import CostModel, Shape
from imagegen_router.dispatch import Dispatcher, Request
from imagegen_router.endpoints import Address, Endpoint, Endpoints
from imagegen_router.queueing import Limits
from imagegen_web.errors import ApiError
from misbehaving.pods import healthy_status
from virtual_time import now

MODEL = "acme/one"
SHAPE = Shape(pixels=512 * 512, steps=8)
SECONDS = 2.0
"""What a request of one picture costs everywhere."""


class NoAbsence:
    """Says why there is no pod; ``failure`` makes waiting vain."""

    def __init__(self) -> None:
        self.failure: ApiError | None = None

    def cause(self, key: str) -> ApiError | None:
        """Return the failure."""
        assert key == MODEL
        return self.failure

    def id_of(self, key: str) -> str:
        """Return the id."""
        return key

    def words(self, key: str) -> str:
        """Return some words."""
        assert key == MODEL
        return "loading weights 62 %"


class Scene:
    """A dispatcher over pods of one request at a time. A cold one knows of no cost."""

    def __init__(self, pods: int, limits: Limits | None = None, *, cold: bool = False) -> None:
        self.costs = CostModel()
        if not cold:
            self.costs.learn(MODEL, "stub", SHAPE, SECONDS)
        self.absence = NoAbsence()
        self.endpoints = Endpoints(2.0, self._changed)
        self.dispatcher = Dispatcher(self.endpoints, self.costs, self.absence, limits or Limits(), random.Random(7))
        self._numbers = 0
        self._sweeper = asyncio.create_task(self.dispatcher.sweep())
        self.pods(range(pods))

    def _changed(self, model: str) -> None:
        self.dispatcher.pump(model)

    def pods(self, numbers: Iterable[int], *, ready: bool = True) -> None:
        """Have exactly these pods, each idle when it is new."""
        self.endpoints.replace(
            Address(
                uid=f"uid-{n}", model=MODEL, host="127.0.0.1", port=1, management_port=1, ready=ready, pod=f"pod-{n}"
            )
            for n in numbers
        )
        for endpoint in self.endpoints:
            if endpoint.heard_at is None:
                endpoint.hear(healthy_status(MODEL), MODEL, now(), now())
        self.dispatcher.pump(MODEL)

    def request(self, *, client: str = "", deadline: float = 600.0, hold: float = 45.0, rows: int = 1) -> Request:
        """Return a new request."""
        self._numbers += 1
        return Request(
            number=self._numbers,
            model=MODEL,
            client=client,
            rows=rows,
            shape=SHAPE,
            arrived=now(),
            timeout=deadline,
            hold_seconds=hold,
        )

    async def serve(self, request: Request) -> Endpoint:
        """Have a request served as a pod does it: then it is idle."""
        endpoint = await self.dispatcher.place(request)
        await asyncio.sleep(max(0.0, endpoint.remaining_seconds(now())))
        endpoint.report(10 if len(endpoint.running) == 1 else 0, SECONDS * (len(endpoint.running) - 1), now(), now())
        self.dispatcher.ended(request, endpoint)
        return endpoint
