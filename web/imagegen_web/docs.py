"""Swagger UI at /docs, the OpenAPI document, and the short page at /: all served by us, so they work offline.

A program gives them what they show as the dependency ``about``.
"""

import importlib.util
from html import escape
from pathlib import Path

import msgspec
from litestar import MediaType, Response
from litestar.exceptions import NotFoundException

from imagegen_contract.openapi import openapi_document
from imagegen_web.application import readable
from imagegen_web.responses import AnyRequest


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages say of the program."""

    version: str
    manages_models: bool
    """Whether models are loaded and unloaded by request."""
    management: bool
    """Whether /status and /metrics are at the same address."""


_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}

_SWAGGER_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>imagegen API</title>
<link rel="stylesheet" href="UP/docs/swagger-ui.css">
<link rel="icon" href="UP/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger"></div>
<script src="UP/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "UP/openapi.json", dom_id: "#swagger", deepLinking: true})</script>
</body>
</html>
"""

_START_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>imagegen</title></head>
<body>
<h1>imagegen {version}</h1>
<p>Text-to-image models behind the OpenAI Images API.</p>
<ul>
<li><a href="docs">API documentation</a>, with a form to try it (<a href="openapi.json">OpenAPI document</a>)</li>
<li><a href="v1/models">Models</a></li>
{management}</ul>
<pre>{example}</pre>
</body>
</html>
"""

_MANAGEMENT_LINKS = """<li><a href="status">Status</a> and <a href="metrics">metrics</a></li>
"""

_EXAMPLE = """curl -s BASE_URL/v1/images/generations -H 'content-type: application/json' \\
  -d '{"prompt": "a red circle on a blue background"}'"""


@readable("/", media_type=MediaType.HTML)
async def start_page(about: About) -> str:
    """Links to what is here."""
    management = _MANAGEMENT_LINKS if about.management else ""
    return _START_PAGE.format(version=escape(about.version), management=management, example=escape(_EXAMPLE))


@readable("/docs", media_type=MediaType.HTML)
async def swagger_page(request: AnyRequest) -> str:
    """Swagger UI. Its links are relative, as a proxy may put a prefix before all paths."""
    raw_path = request.scope["raw_path"]
    slashes = len(raw_path) - len(raw_path.rstrip(b"/"))
    return _SWAGGER_PAGE.replace("UP/", "../" * slashes)


@readable("/docs/{name:str}", sync_to_thread=True)
def swagger_asset(name: str) -> Response[bytes]:
    """One file of Swagger UI."""
    if name not in _ASSETS:
        raise NotFoundException
    content = (_static_folder() / name).read_bytes()
    headers = {"cache-control": "public, max-age=86400", "content-type": _ASSETS[name]}
    return Response(content, headers=headers)


@readable("/openapi.json")
async def openapi_json(about: About) -> Response[bytes]:
    """Return the OpenAPI 3.1 document."""
    document = openapi_document(about.version, manages_models=about.manages_models)
    return Response(msgspec.json.encode(document), media_type=MediaType.JSON)


ROUTES = [start_page, swagger_page, swagger_asset, openapi_json]


def _static_folder() -> Path:
    # The package is found but not imported: only its files are wanted, not its web framework adapters.
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("swagger-ui-py is not installed")
    return Path(spec.origin).parent / "static"
