"""The HTTP routes beside the one that makes pictures (generations.py)."""

from litestar import Request, Response
from litestar.datastructures import State
from litestar.params import Parameter

from imagegen_contract.images import ModelInfo, ModelList
from imagegen_router.demand import DemandReport
from imagegen_router.metrics import CONTENT_TYPE
from imagegen_router.service import RouterStatus, Service
from imagegen_web.application import readable

AnyRequest = Request[object, object, State]


@readable("/v1/models")
async def list_models(request: AnyRequest, service: Service) -> ModelList:
    """Every model, whatever pods are up."""
    service.check_key(request.headers.get("authorization"))
    return service.models()


@readable("/v1/models/{model_id:path}")
async def retrieve_model(request: AnyRequest, model_id: str, service: Service) -> ModelInfo:
    """One model by any of its names."""
    service.check_key(request.headers.get("authorization"))
    return service.model(model_id.removeprefix("/"))


@readable("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process is alive: it answers."""
    return {"status": "ok"}


@readable("/readyz")
async def readyz(service: Service) -> dict[str, str]:
    """Whether requests can be sent here: models and pods are known, and it does not drain."""
    service.check_ready()
    return {"status": "ready"}


@readable("/metrics")
async def metrics(service: Service) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


@readable("/status")
async def status(service: Service) -> RouterStatus:
    """The state of the router and of the pods that it knows, for people."""
    return service.status()


@readable("/internal/demand")
async def demand(
    service: Service, version: int | None = None, wait: float = Parameter(default=0.0, ge=0, le=60)
) -> DemandReport:
    """What is wanted of each model; with ``version`` and ``wait`` the answer comes with the next change."""
    return await service.demand.read(version, wait)


PUBLIC = [list_models, retrieve_model]
MANAGEMENT = [healthz, readyz, metrics, status, demand]
