"""The OpenAPI 3.1 document of the public API, served as /openapi.json by every program that serves the API.

Schemas come from the message structs (openapi_schemas.py), errors from errors.KINDS; only prose is written here.
"""

from collections.abc import Iterable

import msgspec

from imagegen_contract import names
from imagegen_contract.errors import KINDS, MAX_RETRY_AFTER_SECONDS, ErrorCode, error_body
from imagegen_contract.openapi_examples import (
    ERRORS,
    REQUEST_ID,
    loading_example,
    model_example,
    models_example,
    reply_example,
    request_examples,
    status_example,
)
from imagegen_contract.openapi_schemas import SCHEMA_PATH, Json, schemas
from imagegen_contract.server_settings import DEFAULT_MODEL

_RETRY_AFTER_STATUSES = (429, 503)
_GENERATION_CODES = tuple(code for code in ErrorCode if code is not ErrorCode.NOT_FOUND)
_NOT_READY_CODES = (ErrorCode.MODEL_LOADING, ErrorCode.MODEL_FAILED, ErrorCode.DRAINING)
_READING_CODES = (ErrorCode.INVALID_API_KEY, ErrorCode.INTERNAL_ERROR)
_KEYS_ARE_OPTIONAL: list[dict[str, list[str]]] = [{}, {"apiKey": []}]

_REASONS = {
    400: "The request cannot be honoured as it stands",
    401: "No API key, or a wrong one",
    404: "Not found",
    405: "Method not allowed",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not JSON",
    429: "Too much at once: the queue is full, or the API key's limit is reached",
    431: "Too many bytes of headers",
    500: "The server failed",
    502: "The server behind was lost",
    503: "Not now",
    504: "The request took too long",
}

_HEADERS: Json = {
    "RequestId": {
        "description": "The request's own id when it sent one, else a new one; every log line of the request has it",
        "schema": {"type": "string"},
        "example": REQUEST_ID,
    },
    "RetryAfter": {
        "description": "Seconds after which another try makes sense; there when that can be foretold",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_RETRY_AFTER_SECONDS},
    },
    "ShouldRetry": {
        "description": "Tells the openai SDK whether to try again; left out where the SDK's own rule is right",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
}

_TAGS = [
    {"name": "images", "description": "Making pictures"},
    {"name": "models", "description": "What can make them"},
    {"name": "operation", "description": "For probes, dashboards and routers; on the management port in pods"},
    {"name": "documentation", "description": "Pages and this document"},
]


def openapi_document(
    version: str,
    title: str = "imagegen: text-to-image API",
    example_model: str = DEFAULT_MODEL,
    *,
    manages_models: bool = True,
) -> dict[str, object]:
    """Return the document; ``version`` is the distribution's, ``example_model`` stands in the examples.

    ``manages_models``: whether models can be loaded and unloaded by request, as on a server alone.
    """
    managing = {
        "/v1/models/{model_id}/load": {"post": _load_model(example_model)},
        "/v1/models/{model_id}/unload": {"post": _unload_model(example_model)},
    }
    paths = {
        "/v1/images/generations": {"post": _generate(example_model)},
        "/v1/models": {"get": _list_models(example_model)},
        "/v1/models/{model_id}": {"get": _show_model(example_model)},
        **(managing if manages_models else {}),
        "/healthz": {"get": _probe("healthz", "Is the process alive?", "ok", (ErrorCode.INTERNAL_ERROR,))},
        "/readyz": {"get": _probe("readyz", "Can it serve?", "ready", _NOT_READY_CODES)},
        "/metrics": {"get": _page("metrics", "Metrics in Prometheus' text format", "operation", "text/plain")},
        "/status": {"get": _status(example_model, version)},
        "/": {"get": _page("playground", "A page to try it out in the browser", "documentation", "text/html")},
        "/openapi.json": {"get": _page("openapi", "This document", "documentation", "application/json")},
        "/docs": {"get": _page("docs", "This document as a page (Swagger UI)", "documentation", "text/html")},
    }
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": _introduction()},
        "tags": _TAGS,
        "paths": paths,
        "components": {"schemas": schemas(), "headers": _HEADERS, "securitySchemes": {"apiKey": _API_KEY}},
    }
    return msgspec.json.decode(msgspec.json.encode(document))  # plain JSON types, shared with nobody


_API_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "Only where the deployment asks for keys; a server by itself takes requests without",
}


def _introduction() -> str:
    rows = [f"| {KINDS[code].status} | `{code}` | {ERRORS[code].meaning} |" for code in ErrorCode]
    return (
        "OpenAI's Images API, with the field's usual names for what OpenAI's has no field for. Whatever cannot be "
        "honoured is refused with a message that says what is allowed; nothing is ignored.\n\n"
        'Every error has the body `{"error": {"message", "type", "param", "code"}}`:\n\n'
        "| status | code | meaning |\n|---|---|---|\n" + "\n".join(rows)
    )


def _generate(model: str) -> Json:
    body = {"schema": _reference("GenerateImage"), "examples": request_examples(model)}
    return {
        "operationId": "generateImages",
        "tags": ["images"],
        "summary": "Make pictures from a prompt",
        "description": "Answers when all pictures of the request are done. The same seed gives the same picture. A "
        "client that closes the connection ends the work on its request.",
        "parameters": [_REQUEST_ID_PARAMETER, _TIMEOUT_PARAMETER],
        "security": _KEYS_ARE_OPTIONAL,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": _json("The pictures, with the values that were used", "ImagesReply", reply_example(model)),
            **_errors(_GENERATION_CODES),
        },
    }


def _list_models(model: str) -> Json:
    return {
        "operationId": "listModels",
        "tags": ["models"],
        "summary": "List the models",
        "description": "`data` is for OpenAI's clients and says everything known of a model; `models` is short.",
        "security": _KEYS_ARE_OPTIONAL,
        "responses": {
            "200": _json("All models, loaded or not", "ModelList", models_example(model)),
            **_errors(_READING_CODES),
        },
    }


def _show_model(model: str) -> Json:
    return {
        "operationId": "getModel",
        "tags": ["models"],
        "summary": "Show one model",
        "description": "Limits, sizes and samplers of the model, whether it is loaded, and why not.",
        "parameters": [_model_id(model)],
        "security": _KEYS_ARE_OPTIONAL,
        "responses": {
            "200": _json("The model", "ModelInfo", model_example(model)),
            **_errors((ErrorCode.MODEL_NOT_FOUND, *_READING_CODES)),
        },
    }


def _load_model(model: str) -> Json:
    return {
        "operationId": "loadModel",
        "tags": ["models"],
        "summary": "Load a model",
        "description": "Answers at once; the model's `state`, `stage` and `progress` tell how far it is. A model that "
        "failed is tried again. A request that names a model loads it too.",
        "parameters": [_model_id(model)],
        "security": _KEYS_ARE_OPTIONAL,
        "responses": {
            "200": _json("It is loaded", "ModelInfo", model_example(model)),
            "202": _json("It is being loaded", "ModelInfo", loading_example(model)),
            **_errors((ErrorCode.MODEL_NOT_FOUND, *_READING_CODES)),
        },
    }


def _unload_model(model: str) -> Json:
    return {
        "operationId": "unloadModel",
        "tags": ["models"],
        "summary": "Unload a model",
        "description": "Answers when the requests that use the model are done and its memory is free. A load that is "
        "under way is given up.",
        "parameters": [_model_id(model)],
        "security": _KEYS_ARE_OPTIONAL,
        "responses": {
            "200": _json("It is not loaded", "ModelInfo", model_example(model, state="unloaded")),
            **_errors((ErrorCode.MODEL_NOT_FOUND, *_READING_CODES)),
        },
    }


def _model_id(model: str) -> Json:
    return {
        "name": "model_id",
        "in": "path",
        "required": True,
        "description": "Id, alias or unambiguous last segment of an id; a slash may be sent as it is or as %2F",
        "schema": {"type": "string", "minLength": 1, "maxLength": 256},
        "example": model,
    }


def _probe(name: str, summary: str, word: str, failing: Iterable[ErrorCode]) -> Json:
    schema = {"type": "object", "properties": {"status": {"type": "string", "enum": [word]}}, "required": ["status"]}
    content = {"application/json": {"schema": schema, "example": {"status": word}}}
    return {
        "operationId": name,
        "tags": ["operation"],
        "summary": summary,
        "responses": {"200": {"description": "Yes", "headers": _headers(), "content": content}, **_errors(failing)},
    }


def _status(model: str, version: str) -> Json:
    return {
        "operationId": "status",
        "tags": ["operation"],
        "summary": "State, models, capacity and predicted work",
        "responses": {"200": _json("The state of this server", "ServerStatus", status_example(model, version))},
    }


def _page(name: str, summary: str, tag: str, media_type: str) -> Json:
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": {"200": _answer(summary, media_type)},
    }


_REQUEST_ID_PARAMETER = {
    "name": names.REQUEST_ID_HEADER,
    "in": "header",
    "required": False,
    "description": "Your id of the request: 1 to 128 letters, digits, dots, dashes and underscores. Made for you when "
    "left out, and in place of any other text",
    "schema": {"type": "string"},
}


_TIMEOUT_PARAMETER = {
    "name": names.REQUEST_TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Seconds after which you no longer want the answer; the server's own limit is the most",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}


def _answer(description: str, media_type: str) -> Json:
    schema = {"type": "object" if media_type == "application/json" else "string"}
    return {"description": description, "headers": _headers(), "content": {media_type: {"schema": schema}}}


def _json(description: str, schema: str, example: object) -> Json:
    content = {"application/json": {"schema": _reference(schema), "example": example}}
    return {"description": description, "headers": _headers(), "content": content}


def _errors(codes: Iterable[ErrorCode]) -> Json:
    by_status: dict[int, list[ErrorCode]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {str(status): _error(status, by_status[status]) for status in sorted(by_status)}


def _error(status: int, codes: list[ErrorCode]) -> Json:
    headers = _headers()
    if status in _RETRY_AFTER_STATUSES:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if any(KINDS[code].retry is not None for code in codes):
        headers[names.SHOULD_RETRY_HEADER] = {"$ref": "#/components/headers/ShouldRetry"}
    content = {"schema": _reference("ErrorBody"), "examples": {code.value: _error_example(code) for code in codes}}
    return {"description": _REASONS[status], "headers": headers, "content": {"application/json": content}}


def _error_example(code: ErrorCode) -> Json:
    example = ERRORS[code]
    value = msgspec.to_builtins(error_body(code, example.message, example.param))
    return {"summary": example.meaning, "value": value}


def _headers() -> Json:
    return {names.REQUEST_ID_HEADER: {"$ref": "#/components/headers/RequestId"}}


def _reference(name: str) -> Json:
    return {"$ref": SCHEMA_PATH.format(name=name)}
