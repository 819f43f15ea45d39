"""Who goes where, and when: the waiting rooms of all models and the pods, brought together.

`place` returns a pod with room for a request: at once when nobody waits and one has room, else when its turn has come.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_router.balancer import AHEAD_SECONDS, choose
from imagegen_router.costs import CostModel, RowCost, Shape
from imagegen_router.endpoints import Endpoint, Endpoints, Running
from imagegen_router.queueing import Limits, Refusal, Ticket, WaitingRoom
from imagegen_web.errors import ApiError, DeadlineExceeded, ModelNotReady, QueueFull

_LOG = logging.getLogger("imagegen.dispatch")

_SWEEP_SECONDS = 0.25
"""How often the time limits of all that wait are looked at."""

_PLACES_SECONDS = 1.0
"""Places are counted anew so often: each of a thousand waiting streams is told its own every few seconds."""

_RETRY = 15.0
"""Seconds after which a client that was held in vain may come again."""


class Absence(Protocol):
    """Says why a model has no pod."""

    def cause(self, key: str) -> ApiError | None:
        """Return the error that a request gets at once because waiting is in vain, None when it may be held."""
        ...

    def id_of(self, key: str) -> str:
        """Return the id that people know the model by."""
        ...

    def words(self, key: str) -> str:
        """Return why no pod is ready, as people say it."""
        ...


class Request(msgspec.Struct, kw_only=True, eq=False):
    """One request on its way to a pod."""

    number: int
    model: str
    client: str = ""
    rows: int = 1
    shape: Shape
    size: int = 0
    arrived: float
    timeout: float
    """Seconds after which its time is over, whatever it does then."""
    hold_seconds: float
    """How long it is held while no pod is ready."""
    returned: bool = False
    """Whether a pod did not take it: it goes before everybody else."""
    avoid: set[str] = msgspec.field(default_factory=set)
    """UIDs of pods that failed it or did not take it."""

    @property
    def deadline(self) -> float:
        """When its time is over."""
        return self.arrived + self.timeout

    def ticket(self, cost: RowCost) -> Ticket:
        """Return its ticket for the waiting room."""
        return Ticket(
            number=self.number,
            client=self.client,
            arrived=self.arrived,
            seconds=self.rows * cost.seconds,
            measured=cost.measured,
            rows=self.rows,
            size=self.size,
        )


class Waiting(msgspec.Struct, frozen=True, eq=False):
    """A request in a waiting room."""

    request: Request
    ticket: Ticket
    placed: asyncio.Future[Endpoint]


class _Model:
    """What the dispatcher keeps of one model."""

    def __init__(self, limits: Limits) -> None:
        self.room = WaitingRoom(limits)
        self.waiting: dict[int, Waiting] = {}
        self.absent_since: float | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.places: dict[int, tuple[int, float]] = {}
        """Of all that waited a moment ago."""
        self.places_at = -math.inf


class Dispatcher:
    """Places requests. Belongs to one event loop; times are of its clock."""

    def __init__(
        self, endpoints: Endpoints, costs: CostModel, absence: Absence, limits: Limits, chance: random.Random
    ) -> None:
        self._endpoints = endpoints
        self._costs = costs
        self._absence = absence
        self._limits = limits
        self._chance = chance
        self._models: dict[str, _Model] = {}
        self.news: Callable[[], None] = lambda: None
        """Called when a request has come, was sent to a pod, or is over."""

    async def place(self, request: Request) -> Endpoint:
        """Return a pod with room; what is sent there is noted already.

        Cancelling this call takes the request out of the waiting room. Raises QueueFull, DeadlineExceeded,
        and what ``Absence`` says when there is no pod.
        """
        now = _now()
        model = self._models.setdefault(request.model, _Model(self._limits))
        ready = self._ready(request.model, now)
        ticket = request.ticket(self._row(request))
        if ready and not len(model.room) and (endpoint := self._choose(request, ready, now)):
            self._begin(request, endpoint, now)
            return endpoint
        self._admit(request, ticket, model, ready, now)
        placed: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        model.waiting[request.number] = Waiting(request, ticket, placed)
        self.news()
        try:
            self.pump(request.model)
            return await placed
        except asyncio.CancelledError:
            if placed.done() and not placed.cancelled() and placed.exception() is None:
                self.ended(request, placed.result())  # its client left in the moment of its turn
            raise
        finally:
            model.room.leave(ticket)
            del model.waiting[request.number]
            self.news()

    def pump(self, name: str) -> None:
        """Send whoever is next, as long as there is a pod with room."""
        model = self._models.get(name)
        if model is None:
            return
        now = _now()
        ready = self._ready(name, now)
        while ready and (ticket := model.room.next()):
            waiting = model.waiting[ticket.number]
            if waiting.placed.done():  # its client left, and its task has not run since
                model.room.leave(ticket)
                continue
            endpoint = self._choose(waiting.request, ready, now)
            if endpoint is None:
                break
            model.room.take(ticket)
            self._begin(waiting.request, endpoint, now)
            waiting.placed.set_result(endpoint)
        self._look_again(name, model, ready, now)

    def ended(self, request: Request, endpoint: Endpoint) -> None:
        """Note that a request is over on a pod, however it ended; others may have its place."""
        endpoint.end(request.number, _now())
        self.news()
        self.pump(request.model)

    async def sweep(self) -> None:
        """Look at time limits, for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for name, model in self._models.items():
                self._expire(name, model, _now())

    def waiting(self, name: str) -> tuple[int, float]:
        """Return how many requests wait for a model, and their predicted device seconds."""
        model = self._models.get(name)
        return (len(model.room), model.room.seconds) if model else (0, 0.0)

    def eta(self, request: Request) -> tuple[int, float] | None:
        """Return how many are before a request, and the predicted seconds until it is placed; None when it was."""
        model = self._models.get(request.model)
        if model is None or request.number not in model.waiting:
            return None
        now = _now()
        if now - model.places_at > _PLACES_SECONDS or request.number not in model.places:
            model.places_at, model.places = now, self._places(request.model, model, now)
        return model.places.get(request.number)

    def _places(self, name: str, model: _Model, now: float) -> dict[int, tuple[int, float]]:
        """Return for all that wait how many are before them, and the predicted seconds until they are placed."""
        pods = self._ready(name, now)
        seconds = sum(pod.remaining_seconds(now) for pod in pods)
        places: dict[int, tuple[int, float]] = {}
        for before, ticket in enumerate(model.room):
            places[ticket.number] = before, seconds / max(1, len(pods))
            seconds += ticket.seconds
        return places

    def _admit(self, request: Request, ticket: Ticket, model: _Model, ready: list[Endpoint], now: float) -> None:
        if request.returned:
            model.room.come_back(ticket)
            return
        if not ready:
            model.absent_since = now if model.absent_since is None else model.absent_since
            if (failure := self._absence.cause(request.model)) is not None:
                raise failure
        if (refusal := model.room.refusal(ticket, len(ready))) is not None:
            raise self._full(refusal, model, ready)
        model.room.enter(ticket)

    def _full(self, refusal: Refusal, model: _Model, ready: list[Endpoint]) -> QueueFull:
        seconds = refusal.excess * model.room.seconds / max(1, len(ready))
        whose = "your share of the places" if refusal.share else "every place"
        return QueueFull(
            f"{whose} in the queue of {len(model.room)} requests is taken; try again in {seconds:.0f} s", seconds
        )

    def _ready(self, name: str, now: float) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints.of(name) if endpoint.takes_work(now)]

    def _choose(self, request: Request, ready: list[Endpoint], now: float) -> Endpoint | None:
        able = [endpoint for endpoint in ready if endpoint.address.uid not in request.avoid] or ready
        loads = [endpoint.load(self._seconds(request, endpoint), now) for endpoint in able]
        index = choose(loads, request.rows, self._chance)
        return None if index is None else able[index]

    def _begin(self, request: Request, endpoint: Endpoint, now: float) -> None:
        running = Running(rows=request.rows, seconds=self._seconds(request, endpoint), sent_at=now)
        endpoint.begin(request.number, running)
        self.news()

    def _seconds(self, request: Request, endpoint: Endpoint) -> float:
        """Return what a request takes on one pod."""
        return request.rows * self._row(request, endpoint.device, [endpoint]).seconds

    def _row(self, request: Request, device: str = "", pods: Sequence[Endpoint] = ()) -> RowCost:
        """Return what a picture costs by what these pods say, else by what all of its model do."""
        told = [pod.row_seconds(request.shape, request.rows) for pod in pods or self._endpoints.of(request.model)]
        return self._costs.row(request.model, device, request.shape, [each for each in told if each is not None])

    def _look_again(self, name: str, model: _Model, ready: list[Endpoint], now: float) -> None:
        """Come back when the first pod's work is nearly done: no reply tells of that."""
        if model.timer:
            model.timer.cancel()
            model.timer = None
        if ready and len(model.room):
            soonest = min(endpoint.remaining_seconds(now) for endpoint in ready) - AHEAD_SECONDS
            model.timer = asyncio.get_running_loop().call_later(max(0.02, soonest), self.pump, name)

    def _expire(self, name: str, model: _Model, now: float) -> None:
        ready = self._ready(name, now)
        model.absent_since = None if ready else (now if model.absent_since is None else model.absent_since)
        for waiting in tuple(model.waiting.values()):
            failure = self._failure(name, model, waiting.request, ready, now)
            if failure is not None and not waiting.placed.done():
                model.room.leave(waiting.ticket)
                waiting.placed.set_exception(failure)

    def _failure(
        self, name: str, model: _Model, request: Request, ready: list[Endpoint], now: float
    ) -> ApiError | None:
        if now >= request.deadline:
            return DeadlineExceeded(f"no pod had room within the request's {request.timeout:g} s")
        if ready:
            return None
        if (failure := self._absence.cause(name)) is not None:
            return failure
        since = now if model.absent_since is None else model.absent_since
        if now < max(request.arrived, since) + request.hold_seconds:
            return None
        words = self._absence.words(name)
        return ModelNotReady(
            ErrorCode.MODEL_LOADING,
            f"no pod of {self._absence.id_of(name)} is ready: {words}",
            "model",
            retry_after=_RETRY,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
