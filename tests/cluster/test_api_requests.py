"""How requests are read: as RBAC's rules name them."""

import pytest

from cluster.api_requests import matching, read_request

_APPS = "/apis/apps/v1/namespaces/shop/deployments"


@pytest.mark.parametrize(
    ("request_line", "read"),
    [
        ("GET /api/v1/pods", "list  pods"),
        ("GET /api/v1/pods?watch=true", "watch  pods"),
        ("GET /api/v1/namespaces/shop/pods?watch=1&labelSelector=a%3Db", "watch  pods shop"),
        ("GET /api/v1/namespaces/shop/pods/web/log", "get  pods/log shop web"),
        ("GET /api/v1/namespaces", "list  namespaces"),
        ("GET /api/v1/namespaces/shop", "get  namespaces shop shop"),
        ("PUT /api/v1/namespaces/shop/finalize", "update  namespaces/finalize shop shop"),
        (f"GET {_APPS}?fieldSelector=metadata.name%3Dweb", "list apps deployments shop web"),
        (f"POST {_APPS}", "create apps deployments shop"),
        (f"PATCH {_APPS}/web", "patch apps deployments shop web"),
        (f"PATCH {_APPS}/web/status", "patch apps deployments/status shop web"),
        (f"PUT {_APPS}/web/scale", "update apps deployments/scale shop web"),
        (f"DELETE {_APPS}/web", "delete apps deployments shop web"),
        (f"DELETE {_APPS}", "deletecollection apps deployments shop"),
        ("GET /apis/imagegen.dev/v1alpha1/imagemodels", "list imagegen.dev imagemodels"),
        ("GET /apis", "get  "),
        ("GET /apis/apps/v1", "get  "),
        ("GET /version", "get  "),
        ("GET /", "get  "),
    ],
)
def test_requests_are_read_as_rbac_reads_them(request_line: str, read: str) -> None:
    method, _, target = request_line.partition(" ")
    path, _, query = target.partition("?")
    found = read_request(method, path, {k: v.replace("%3D", "=") for k, _, v in _pairs(query)})
    resource = f"{found.resource}/{found.subresource}" if found.subresource else found.resource
    assert f"{found.verb} {found.group} {resource} {found.namespace} {found.name}".rstrip() == read.rstrip()


def _pairs(query: str) -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in query.split("&") if pair]


def test_an_apply_that_created_needs_two_rights() -> None:
    apply = read_request("PATCH", f"{_APPS}/web", {})
    assert apply.permissions == {("apps", "deployments", "patch")}
    apply.status = 201
    assert apply.permissions == {("apps", "deployments", "patch"), ("apps", "deployments", "create")}
    assert matching(resource="deployments", name="web")(apply)
    assert not matching(resource="deployments", name="shop")(apply)
