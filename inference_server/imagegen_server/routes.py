"""The HTTP routes. A handler reads the request, calls one method, and says how the answer is sent."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from litestar import MediaType, Request, Response, get, post, route
from litestar.exceptions import HTTPException, MethodNotAllowedException

from imagegen_contract import names
from imagegen_contract.errors import ErrorCode, error_body
from imagegen_contract.images import ModelInfo, ModelList, model_entry
from imagegen_contract.server_status import ServerStatus
from imagegen_server.errors import ApiError, ClientGone
from imagegen_server.metrics import CONTENT_TYPE
from imagegen_server.requests import decode_generation, read_body, request_timeout
from imagegen_server.service import Service

_LOG = logging.getLogger(__name__)
_CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that left; nobody receives it, but logs and metrics show it."""

_MODEL_PATHS = "/v1/models/"

Result = TypeVar("Result")
AnyRequest = Request[Any, Any, Any]


@post("/v1/images/generations", status_code=200)
async def generate_images(request: AnyRequest, service: Service) -> Response[bytes]:
    """Make pictures."""
    settings = service.settings
    timeout = request_timeout(request.headers.get(names.REQUEST_TIMEOUT_HEADER), settings.request_timeout)
    body = decode_generation(await read_body(request, settings.body_timeout))
    # A router resolved the name already, and its word stands above the body's; alone nobody may set the header.
    resolved = request.headers.get(names.MODEL_HEADER) if settings.model else None
    model_name = resolved or body.model or service.default_model
    reply = await _unless_disconnected(request, service.images.generate(body, model_name, timeout))
    return Response(reply, media_type=MediaType.JSON, headers=_load_report(service))


@get("/v1/models")
async def list_models(service: Service) -> ModelList:
    """Every model of the catalog, loaded or not."""
    return ModelList(data=service.model_infos(), models=tuple(model_entry(spec) for spec in service.models.specs))


@get("/v1/models/{model_id:path}")
async def retrieve_model(model_id: str, service: Service) -> ModelInfo:
    """One model by any of its names."""
    return service.model_info(service.models.find(model_id.removeprefix("/")).id)


@route("/v1/models/{model_id:path}", http_method=["GET", "POST", "OPTIONS"])
async def manage_model(request: AnyRequest, model_id: str, service: Service) -> Response[ModelInfo | None]:
    """Show a model; load or unload it by POST to ``{id}/load``, ``{id}/unload``.

    One handler for all, since nothing after a path parameter matches in Litestar, and its own answer to OPTIONS would
    name the methods of both kinds of paths.
    """
    name, _, verb = model_id.removeprefix("/").rpartition("/")
    if request.method == "OPTIONS":
        return Response(None, status_code=204, headers={"Allow": _methods(model_id)})
    if request.method == "GET":
        return Response(service.model_info(service.models.find(model_id.removeprefix("/")).id), status_code=200)
    if name and verb == "load":
        loaded, info = await service.load_model(name)
        return Response(info, status_code=200 if loaded else 202)
    if name and verb == "unload":
        return Response(await service.unload_model(name), status_code=200)
    raise MethodNotAllowedException(headers={"Allow": _methods(model_id)})


@get("/healthz")
async def healthz(service: Service) -> dict[str, str]:
    """Whether the process is alive."""
    service.check_alive()
    return {"status": "ok"}


@get("/readyz")
async def readyz(service: Service) -> dict[str, str]:
    """Whether requests can be served."""
    service.check_ready()
    return {"status": "ready"}


@get("/metrics")
async def metrics(service: Service) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})


@get("/status")
async def status(service: Service) -> ServerStatus:
    """The state of the server, for routers, operators and people."""
    return service.status()


PUBLIC = [generate_images, list_models]
POD = [retrieve_model]
"""What becomes of the model of a pod is the operator's business."""
ALONE = [manage_model]
MANAGEMENT = [healthz, readyz, metrics, status]


def on_api_error(request: AnyRequest, error: ApiError) -> Response[bytes]:
    """Render a failure of ours."""
    return _error_response(request, error)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Render what Litestar refuses: no such route, no such method, a body over the limit."""
    allowed = next(iter((error.headers or {}).values()), "").split(", ")
    if "POST" in allowed and request.scope["path"].startswith(_MODEL_PATHS):
        allowed = _methods(request.scope["path"]).split(", ")
    allow = {"allow": ", ".join(sorted(allowed))} if error.status_code == 405 else {}
    # The path of the scope: request.url is put together from the host header too, and raises where that is none.
    code, message = {
        404: (ErrorCode.NOT_FOUND, f"there is no route {request.scope['path'][:200]}; see /docs"),
        405: (ErrorCode.METHOD_NOT_ALLOWED, f"{request.method} is not allowed here; allowed: {allow.get('allow')}"),
        413: (ErrorCode.BODY_TOO_LARGE, "the body is larger than this server takes"),
    }.get(error.status_code, (ErrorCode.INVALID_REQUEST, "the request cannot be read"))
    return _error_response(request, ApiError(code, message), allow)


def on_client_gone(request: AnyRequest, _: ClientGone) -> Response[bytes]:
    """Note a client that left before its answer."""
    request.scope["state"]["error_code"] = "client_gone"
    return Response(b"", status_code=_CLIENT_CLOSED_REQUEST)


def on_unexpected(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a failure that nobody foresaw: the client gets the request id, the log the traceback."""
    _LOG.error("unexpected failure", exc_info=error)
    request_id = request.scope["state"].get("request_id", "")
    failure = ApiError(ErrorCode.INTERNAL_ERROR, f"an internal error; the server's log has it as {request_id}")
    failure.started = True
    return _error_response(request, failure)


EXCEPTION_HANDLERS = {
    ApiError: on_api_error,
    ClientGone: on_client_gone,
    HTTPException: on_http_error,
    Exception: on_unexpected,
}


def _error_response(request: AnyRequest, error: ApiError, headers: dict[str, str] | None = None) -> Response[bytes]:
    request.scope["state"]["error_code"] = error.code.value
    return Response(
        msgspec.json.encode(error_body(error.code, error.message, error.param)),
        status_code=error.status,
        media_type=MediaType.JSON,
        headers={**error.headers, names.STARTED_HEADER: str(int(error.started)), **(headers or {})},
    )


def _methods(path: str) -> str:
    """Return what may be done at a path under a model of a server alone."""
    return "OPTIONS, POST" if path.endswith(("/load", "/unload")) else "GET, OPTIONS"


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
