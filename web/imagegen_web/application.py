"""Litestar as our programs use it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from litestar import HttpMethod, Litestar, route
from litestar.di import Provide
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp

readable = partial(route, http_method=(HttpMethod.GET, HttpMethod.HEAD))
"""What ``get`` is to Litestar, for HEAD too: the same headers, and uvicorn leaves the body out."""


def web_application(
    handlers: Sequence[Any],
    *,
    dependencies: Mapping[str, Any],
    exception_handlers: Mapping[Any, Any],
    max_body_bytes: int,
) -> ASGIApp:
    """Return an application with these routes; ``dependencies`` are the objects that handlers ask for by name."""
    return _MsgspecLitestar(
        route_handlers=list(handlers),
        dependencies={name: _provide(value) for name, value in dependencies.items()},
        exception_handlers=dict(exception_handlers),
        request_max_body_size=max_body_bytes,
        openapi_config=None,
        logging_config=None,
    )


class _MsgspecLitestar(Litestar):
    """Litestar without its plugins for pydantic and attrs, which we do not use.

    Looking for them imports pydantic, as long as litestar itself depends on it: a third of the time to listening.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def _provide(value: Any) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)
