"""One rule for paths, and HEAD wherever there is GET, in both programs; tests/end_to_end asks over real connections."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Show
from imagegen_router import routes as router_routes
from imagegen_server import routes as server_routes
from imagegen_web import docs
from imagegen_web.paths import canonical

PATHS = {
    "/": "/",
    "//": "/",
    "///": "/",
    "/v1/models": "/v1/models",
    "/v1/models/": "/v1/models",
    "//v1//models//": "/v1/models",
    "/v1/models/acme/one/": "/v1/models/acme/one",
    "/v1/./models": "/v1/./models",
    "/v1/../models": "/v1/../models",
    "/V1/models": "/V1/models",
    "/v1/models/a b": "/v1/models/a b",
    "/\\/": "/\\",
    "*": "*",
}


@pytest.mark.parametrize(("path", "same"), PATHS.items())
def test_slashes_too_many_do_not_matter(path: str, same: str) -> None:
    assert canonical(path) == same


@given(
    st.lists(st.sampled_from(["", "v1", "models", ".", "%2F", " "]), max_size=8).map(
        lambda parts: f"/{'/'.join(parts)}"
    )
)
def test_a_path_has_one_form_with_the_same_segments(path: str) -> None:
    once = canonical(path)
    assert canonical(once) == once
    assert [part for part in once.split("/") if part] == [part for part in path.split("/") if part]


HANDLERS: list[Any] = [
    *(docs.ROUTES + router_routes.PUBLIC + router_routes.MANAGEMENT),
    *(server_routes.PUBLIC + server_routes.POD + server_routes.ALONE + server_routes.MANAGEMENT),
]


@pytest.mark.acceptance
def test_every_route_that_takes_get_takes_head(show: Show) -> None:
    readable = [handler for handler in HANDLERS if "GET" in handler.http_methods]
    assert len(readable) > 10
    assert [handler.handler_name for handler in readable if "HEAD" not in handler.http_methods] == []
    show("14.1 fault 7: paths and methods", "HEAD on every GET route of server and router")
