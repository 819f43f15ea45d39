"""What the routes work with: one router's parts, built once in app.py."""

import asyncio
import time
from collections.abc import Iterator

import msgspec

from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import ModelInfo, ModelList
from imagegen_router.demand import Demand, ModelDemand
from imagegen_router.directory import Directory
from imagegen_router.dispatch import Dispatcher
from imagegen_router.endpoints import Endpoints
from imagegen_router.keys import Keys
from imagegen_router.metrics import Metrics
from imagegen_web.errors import ApiError, Draining

_RETRY_SECONDS = 1.0


class PodStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One pod as this router sees it."""

    pod: str
    model: str
    ready: bool
    takes_work: bool
    device: str
    running_requests: int
    running_seconds: float
    """Predicted device seconds that are left of this router's own requests on it."""
    remaining_seconds: float
    """Predicted device seconds of all that it has, whoever sent it."""
    silent_seconds: float | None
    """Since its last report; null before the first."""


class RouterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer of /status."""

    version: str
    uptime_seconds: float
    draining: bool
    pods: tuple[PodStatus, ...]
    models: tuple[ModelDemand, ...]


class Service:
    """The parts of a router and the answers that need several of them. Event loop only."""

    def __init__(
        self, version: str, endpoints: Endpoints, directory: Directory, dispatcher: Dispatcher, keys: Keys | None
    ) -> None:
        self.version = version
        self.endpoints = endpoints
        self.directory = directory
        self.dispatcher = dispatcher
        self.keys = keys
        self.demand: Demand
        self.metrics = Metrics(endpoints, self.demands)
        self.draining = False
        self.discovered = False
        """Whether discovery has told of models and pods once."""
        self._started_at = time.time()

    def check_key(self, authorization: str | None) -> None:
        """Raise ApiError ``invalid_api_key`` when keys are needed and this is none."""
        if self.keys is not None:
            self.keys.client(authorization)

    def check_ready(self) -> None:
        """Raise ApiError unless requests can be sent here."""
        if self.draining:
            raise Draining("the router is shutting down", _RETRY_SECONDS)
        if not self.discovered:
            raise ApiError(ErrorCode.MODEL_LOADING, "models and pods are not known yet", retry_after=_RETRY_SECONDS)

    def models(self) -> ModelList:
        """Return all models as /v1/models shows them."""
        return self.directory.list(self._has_pod)

    def model(self, name: str) -> ModelInfo:
        """Return one model by any of its names. Raise ModelNotFound."""
        model = self.directory.find(name)
        return self.directory.info(model, ready=self._has_pod(model.key))

    def demands(self) -> Iterator[ModelDemand]:
        """Yield what is wanted of each model now."""
        return map(self.measure_demand, self.directory.model_keys())

    def measure_demand(self, key: str) -> ModelDemand:
        """Return what is wanted of a model now."""
        now = _now()
        waiting, seconds = self.dispatcher.waiting(key)
        running = [pod for pod in self.endpoints.of(key) if pod.running]
        return ModelDemand(
            model=key,
            waiting_requests=waiting,
            running_requests=sum(len(pod.running) for pod in running),
            waiting_seconds=round(seconds, 3),
            running_seconds=round(sum(pod.own_seconds(now) for pod in running), 3),
        )

    def status(self) -> RouterStatus:
        """Return the state of this router."""
        now = _now()
        pods = [
            PodStatus(
                pod=pod.name,
                model=pod.address.model,
                ready=pod.address.ready,
                takes_work=pod.takes_work(now),
                device=pod.device,
                running_requests=len(pod.running),
                running_seconds=round(pod.own_seconds(now), 3),
                remaining_seconds=round(pod.remaining_seconds(now), 3),
                silent_seconds=None if pod.heard_at is None else round(now - pod.heard_at, 3),
            )
            for pod in self.endpoints
        ]
        return RouterStatus(
            version=self.version,
            uptime_seconds=round(time.time() - self._started_at, 3),
            draining=self.draining,
            pods=tuple(pods),
            models=tuple(self.demands()),
        )

    def _has_pod(self, key: str) -> bool:
        now = _now()
        return any(endpoint.takes_work(now) for endpoint in self.endpoints.of(key))


def _now() -> float:
    return asyncio.get_running_loop().time()
