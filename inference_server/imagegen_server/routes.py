"""The HTTP routes. A handler reads the request, calls one method, and says how the answer is sent."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import MediaType, Response, post, route
from litestar.exceptions import MethodNotAllowedException

from imagegen_contract import names
from imagegen_contract.images import ModelInfo, ModelList, model_entry
from imagegen_contract.server_status import ServerStatus
from imagegen_server.metrics import CONTENT_TYPE
from imagegen_server.service import Service
from imagegen_web import responses
from imagegen_web.application import readable
from imagegen_web.errors import ClientGone
from imagegen_web.requests import decode_generation, read_body, request_timeout
from imagegen_web.responses import AnyRequest, allowed_methods, method_not_allowed

_MODEL_PATHS = "/v1/models/"

Result = TypeVar("Result")


@post("/v1/images/generations", status_code=200)
async def generate_images(request: AnyRequest, service: Service) -> Response[bytes]:
    """Make pictures."""
    settings = service.settings
    timeout = request_timeout(request.headers.get(names.REQUEST_TIMEOUT_HEADER), settings.request_timeout)
    body = decode_generation(
        await read_body(request.scope, request.receive, settings.body_timeout, settings.max_body_bytes)
    )
    # A router resolved the name already, and its word stands above the body's; alone nobody may set the header.
    resolved = request.headers.get(names.MODEL_HEADER) if settings.model else None
    model_name = resolved or body.model or service.default_model
    reply, seconds = await _unless_disconnected(request, service.images.generate(body, model_name, timeout))
    headers = {**_load_report(service), names.DEVICE_SECONDS_HEADER: f"{seconds:.4f}"}
    return Response(reply, media_type=MediaType.JSON, headers=headers)


@readable("/v1/models")
async def list_models(service: Service) -> ModelList:
    """Every model of the catalog, loaded or not."""
    return ModelList(data=service.model_infos(), models=tuple(model_entry(spec) for spec in service.models.specs))


@readable("/v1/models/{model_id:path}")
async def retrieve_model(model_id: str, service: Service) -> ModelInfo:
    """One model by any of its names."""
    return service.model_info(service.models.find(model_id.removeprefix("/")).id)


@route("/v1/models/{model_id:path}", http_method=["GET", "HEAD", "POST", "OPTIONS"])
async def manage_model(request: AnyRequest, model_id: str, service: Service) -> Response[ModelInfo | None]:
    """Show a model; load or unload it by POST to ``{id}/load``, ``{id}/unload``.

    One handler for all, since nothing after a path parameter matches in Litestar, and its own answer to OPTIONS would
    name the methods of both kinds of paths.
    """
    name, _, verb = model_id.removeprefix("/").rpartition("/")
    if request.method == "OPTIONS":
        return Response(None, status_code=204, headers={"Allow": _methods(model_id)})
    if request.method in {"GET", "HEAD"}:
        return Response(service.model_info(service.models.find(model_id.removeprefix("/")).id), status_code=200)
    if name and verb == "load":
        loaded, info = await service.load_model(name)
        return Response(info, status_code=200 if loaded else 202)
    if name and verb == "unload":
        return Response(await service.unload_model(name), status_code=200)
    raise MethodNotAllowedException(headers={"Allow": _methods(model_id)})


@readable("/healthz")
async def healthz(service: Service) -> dict[str, str]:
    """Whether the process is alive."""
    service.check_alive()
    return {"status": "ok"}


@readable("/readyz")
async def readyz(service: Service) -> dict[str, str]:
    """Whether requests can be served."""
    service.check_ready()
    return {"status": "ready"}


@readable("/metrics")
async def metrics(service: Service) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


@readable("/status")
async def status(service: Service) -> ServerStatus:
    """The state of the server, for routers, operators and people."""
    return service.status()


PUBLIC = [generate_images, list_models]
POD = [retrieve_model]
"""What becomes of the model of a pod is the operator's business."""
ALONE = [manage_model]
MANAGEMENT = [healthz, readyz, metrics, status]


def on_wrong_method(request: AnyRequest, error: MethodNotAllowedException) -> Response[bytes]:
    """Refuse a method with those that belong to the path, where one handler takes several paths."""
    path, allowed = request.scope["path"], allowed_methods(error)
    many = "POST" in allowed and path.startswith(_MODEL_PATHS)
    return method_not_allowed(request, _methods(path).split(", ") if many else allowed)


EXCEPTION_HANDLERS = {**responses.EXCEPTION_HANDLERS, MethodNotAllowedException: on_wrong_method}


def _methods(path: str) -> str:
    """Return what may be done at a path under a model of a server alone."""
    return "OPTIONS, POST" if path.endswith(("/load", "/unload")) else "GET, HEAD, OPTIONS"


def _load_report(service: Service) -> dict[str, str]:
    return {
        names.FREE_ROWS_HEADER: str(service.free_rows()),
        names.WORK_SECONDS_HEADER: f"{service.engine.predicted_seconds():.3f}",
    }


async def _unless_disconnected(request: AnyRequest, work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work``, but cancel it and raise ClientGone when the client leaves. Litestar does not do this itself."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        for pending in (task, leaving):
            pending.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _disconnected(request: AnyRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
