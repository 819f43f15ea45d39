"""The API proxy: what it writes down and what it makes go wrong."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from cluster.accounts import account_token
from cluster.api import Api, ApiError
from cluster.api_proxy import ApiProxy
from cluster.api_requests import matching, watches
from cluster.control_plane import ControlPlane
from server_process import wait_until

pytestmark = pytest.mark.slow

_SHORT = 0.3
"""Seconds within which nothing comes, where nothing should."""


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(control_plane) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: ApiProxy, kubernetes: Api) -> Iterator[Api]:
    """A client of the API server by way of the proxy."""
    with Api(proxy.url, token=kubernetes.token, ca=proxy.ca, namespace=kubernetes.namespace) as client:
        client.path("pods")  # discovers now, so that each test counts its own requests only
        proxy.forget()
        yield client


def _config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


class _Watch:
    """A running watch of ConfigMaps, with a connection of its own."""

    def __init__(self, client: Api, stack: ExitStack) -> None:
        trust = ssl.create_default_context(cafile=client.ca)
        http = stack.enter_context(httpx.Client(timeout=10, trust_env=False, verify=trust))
        self.reply = stack.enter_context(
            http.stream(
                "GET",
                f"{client.url}{client.path('configmaps')}",
                params={"watch": "1"},
                headers={"authorization": f"Bearer {client.token}"},
            )
        )
        self._lines = self.reply.iter_lines()

    def next_event(self) -> dict[str, Any]:
        return json.loads(next(self._lines))

    def next_named(self, name: str) -> dict[str, Any]:
        while (event := self.next_event())["object"]["metadata"]["name"] != name:
            pass
        return event

    def is_silent(self) -> bool:
        """Read for a short time; return whether nothing came and the connection is still open."""
        with pytest.raises(httpcore.ReadTimeout):
            self.reply.extensions["network_stream"].read(1, timeout=_SHORT)
        return True


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_requests_are_passed_on_and_written_down(proxy: ApiProxy, client: Api) -> None:
    client.apply(_config("colours"))
    assert client.get("ConfigMap", "colours")["metadata"]["name"] == "colours"
    applied, got = proxy.requests
    assert (applied.verb, applied.resource, applied.name, applied.status) == ("patch", "configmaps", "colours", 201)
    assert (got.verb, got.namespace, got.status, got.is_write) == ("get", client.namespace, 200, False)
    assert got.user_agent.startswith("python-httpx")
    assert applied.bytes_sent > 50
    assert got.bytes_received > 100
    assert str(got) == f"get configmaps {client.namespace}/colours -> 200"


def test_refusals_of_the_api_server_come_through(proxy: ApiProxy, client: Api) -> None:
    with pytest.raises(ApiError, match='"nothing" not found'):
        client.get("ConfigMap", "nothing")
    assert proxy.requests[0].status == 404


def test_the_token_decides_what_is_allowed(proxy: ApiProxy, kubernetes: Api, tmp_path: Path) -> None:
    token = account_token(kubernetes, "reader", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    with Api(proxy.url, token=token, ca=proxy.ca, namespace=kubernetes.namespace) as reader:
        assert reader.list("pods") == []
        with pytest.raises(ApiError, match=r"system:serviceaccount:.*:reader"):
            reader.list("configmaps")
    path = proxy.kubeconfig(tmp_path / "kubeconfig", token=token)
    assert json.loads(path.read_text())["users"][0]["user"]["token"] == token


def test_kubectl_works_by_its_kubeconfig(
    proxy: ApiProxy, control_plane: ControlPlane, kubernetes: Api, tmp_path: Path
) -> None:
    kubernetes.apply(_config("colours"))
    path = proxy.kubeconfig(tmp_path / "kubeconfig", namespace=kubernetes.namespace)
    assert "configmap/colours" in control_plane.kubectl("get", "cm", "-o", "name", f"--kubeconfig={path}")


def test_watches_are_streamed(proxy: ApiProxy, client: Api, stack: ExitStack) -> None:
    watch = _Watch(client, stack)
    client.create(_config("colours"))
    assert watch.next_named("colours")["type"] == "ADDED"
    seen = proxy.requested(watches)[0]
    assert (seen.status, seen.seconds) == (200, None)
    assert seen.bytes_received > 100
    watch.reply.close()
    wait_until(lambda: seen.seconds is not None, 10, "the proxy to end a watch whose client is gone")


def test_before_a_write_the_api_server_never_sees_it(proxy: ApiProxy, client: Api, kubernetes: Api) -> None:
    called: list[str] = []
    point = proxy.before(2, lambda: called.append("now"))
    client.create(_config("first"))
    client.get("ConfigMap", "first")  # a read is not counted
    assert called == []
    with pytest.raises(httpx.TransportError):
        client.create(_config("second"))
    assert called == ["now"]
    assert point.request is not None
    assert point.request.status is None
    assert kubernetes.find("ConfigMap", "second") is None
    client.create(_config("third"))


def test_after_a_write_it_is_done_and_the_client_does_not_know(proxy: ApiProxy, client: Api, kubernetes: Api) -> None:
    there: list[bool] = []
    point = proxy.after(1, lambda: there.append(kubernetes.find("ConfigMap", "first") is not None))
    with pytest.raises(httpx.TransportError):
        client.create(_config("first"))
    assert there == [True]
    assert point.request is not None
    assert point.request.status == 201
    client.create(_config("second"))


def test_an_error_at_a_crash_point_is_raised_at_the_end(control_plane: ControlPlane) -> None:
    def fail() -> None:
        raise LookupError("no such process")

    with pytest.raises(LookupError, match="no such process"):
        _crash_at_a_list(control_plane, fail)


def _crash_at_a_list(control_plane: ControlPlane, call: Callable[[], None]) -> None:
    with ApiProxy(control_plane) as proxy, Api(proxy.url, token=control_plane.token, ca=proxy.ca) as client:
        proxy.before(1, call, matching(verb="list"))
        with pytest.raises(httpx.TransportError):
            client.list("namespaces")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "TooManyRequests"), (500, "InternalError"), (403, "Forbidden"), (409, "Conflict"), (410, "Expired")],
)
def test_answers_are_given_in_place_of_the_api_server(
    proxy: ApiProxy, client: Api, kubernetes: Api, status: int, reason: str
) -> None:
    fault = proxy.answer(status, matching(verb="create"), times=2)
    for _ in range(2):
        with pytest.raises(ApiError) as refused:
            client.create(_config("first"))
        assert (refused.value.code, refused.value.reason) == (status, reason)
    assert kubernetes.find("ConfigMap", "first") is None
    client.create(_config("first"))
    assert fault.met == 2
    assert [request.status for request in proxy.requests] == [status, status, 201]


def test_too_many_requests_says_when_to_come_again(proxy: ApiProxy, client: Api) -> None:
    proxy.answer(429, times=None, retry_after=7)
    for _ in range(3):
        reply = httpx.get(f"{client.url}/version", trust_env=False, verify=ssl.create_default_context(cafile=client.ca))
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "7")
    proxy.heal()
    assert client.list("configmaps")


def test_a_running_watch_ends_with_expired(proxy: ApiProxy, client: Api, stack: ExitStack) -> None:
    watch = _Watch(client, stack)
    watch.next_named("kube-root-ca.crt")
    assert proxy.expire_watches() == 1
    event = watch.next_event()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
    with pytest.raises(StopIteration):
        watch.next_event()


def test_a_watch_is_cut(proxy: ApiProxy, client: Api, stack: ExitStack) -> None:
    watch = _Watch(client, stack)
    watch.next_named("kube-root-ca.crt")
    assert proxy.cut() == 1
    with pytest.raises(httpx.TransportError):
        watch.next_event()


def test_a_hanging_request_is_accepted_and_never_answered(proxy: ApiProxy, client: Api) -> None:
    proxy.hang(matching(resource="configmaps"))
    with pytest.raises(httpx.ReadTimeout):
        client.request("GET", client.path("configmaps"), timeout=_SHORT)
    assert client.list("configmaps")
    assert [request.status for request in proxy.requests] == [None, 200]


def test_requests_are_delayed(proxy: ApiProxy, client: Api) -> None:
    proxy.delay(_SHORT, matching(verb="create"))
    begun = time.monotonic()
    client.create(_config("first"))
    assert time.monotonic() - begun >= _SHORT


def test_frozen_connections_stay_open_and_silent(
    proxy: ApiProxy, client: Api, kubernetes: Api, stack: ExitStack
) -> None:
    watch = _Watch(client, stack)
    watch.next_named("kube-root-ca.crt")
    assert proxy.freeze() == 2
    kubernetes.create(_config("colours"))
    with pytest.raises(httpx.ReadTimeout):  # its kept-alive connection is one of the two
        client.request("GET", client.path("configmaps"), timeout=_SHORT)
    assert watch.is_silent()
    with Api(client.url, token=client.token, ca=client.ca, namespace=client.namespace) as fresh:
        assert fresh.get("ConfigMap", "colours")


def test_refused_connections_come_back_on_the_same_port(proxy: ApiProxy, client: Api, stack: ExitStack) -> None:
    watch = _Watch(client, stack)
    watch.next_named("kube-root-ca.crt")
    proxy.refuse()
    with pytest.raises(httpx.TransportError):
        watch.next_event()
    with pytest.raises(httpx.ConnectError):
        client.list("configmaps")
    proxy.accept()
    assert client.list("configmaps")


def test_requests_are_waited_for(proxy: ApiProxy, client: Api) -> None:
    client.create(_config("first"))
    assert proxy.wait_requested(matching(verb="create"))[0].resource == "configmaps"
    proxy.wait_quiet(quiet=0.1)
    with pytest.raises(AssertionError, match="2 matching requests"):
        proxy.wait_requested(matching(verb="create"), count=2, seconds=0.1)
