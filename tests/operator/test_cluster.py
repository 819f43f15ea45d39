"""The Kubernetes client: what it sends, and that every reply that is not 2xx raises in words."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cluster.kubeconfig import write_kubeconfig
from imagegen_operator.cluster import Cluster, connect
from imagegen_operator.errors import ApiError, Cause, ConfigurationError, Conflict, NotFound, Unreachable
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics

TOKEN = "a-token-that-nobody-may-see"  # noqa: S105 - of no real server
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one", "namespace": "there"}}
MODEL = {"apiVersion": "imagegen.dev/v1alpha1", "kind": "ImageModel", "metadata": SERVICE["metadata"]}

Call = Callable[[Cluster], Awaitable[Any]]

CALLS: dict[str, Call] = {
    "get": lambda cluster: cluster.get(Kind.SERVICE, "there", "one"),
    "list": lambda cluster: cluster.list_all(Kind.SERVICE, "there"),
    "apply": lambda cluster: cluster.apply(SERVICE),
    "apply_status": lambda cluster: cluster.apply_status(MODEL),
    "create": lambda cluster: cluster.create(SERVICE),
    "replace": lambda cluster: cluster.replace(SERVICE),
    "delete": lambda cluster: cluster.delete(Kind.SERVICE, "there", "one", "uid-1"),
    "discover": lambda cluster: cluster.discover("apps/v1"),
}
STATUSES = (400, 401, 403, 404, 409, 410, 422, 429, 500, 503)
NONE_IS_AN_ANSWER = {("get", 404): None, ("discover", 404): frozenset[str]()}


class FakeApiServer:
    """An API server that gives the answers it is told to, the last one for ever, and remembers what was asked."""

    def __init__(self, folder: Path, *answers: web.Response) -> None:
        self.asked: list[tuple[web.Request, Any]] = []
        self.metrics = Metrics()
        self._folder = folder
        self._answers = list(answers)

    @asynccontextmanager
    async def cluster(self, request_seconds: float = 5.0) -> AsyncGenerator[Cluster]:
        """Serve, and connect to it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        file = write_kubeconfig(self._folder / "kubeconfig", url, token=TOKEN, namespace="there")
        try:
            async with connect({"KUBECONFIG": str(file)}, self.metrics, request_seconds=request_seconds) as cluster:
                yield cluster
        finally:
            await runner.cleanup()

    def become(self, *answers: web.Response) -> None:
        """Forget what was asked, and give these answers from now on."""
        self.asked.clear()
        self._answers[:] = answers

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append((request, await request.json() if request.can_read_body else None))
        index = min(len(self.asked), len(self._answers)) - 1
        if index < 0:
            await asyncio.Event().wait()
        answer = self._answers[index]
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def do(self, call: Call) -> Any:
        """Serve for the time of one call."""
        async with self.cluster() as cluster:
            return await call(cluster)


def refusal(status: int, **details: Any) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "message": "that is wrong", "reason": "Wrong", "details": details}
    return web.json_response(body | {"code": status}, status=status)


def page(*names: str, following: str = "") -> web.Response:
    metadata = {"resourceVersion": "7", **({"continue": following} if following else {})}
    return web.json_response({"metadata": metadata, "items": [{"metadata": {"name": name}} for name in names]})


@pytest.mark.parametrize("name", CALLS)
def test_every_refusal_raises(name: str, tmp_path: Path) -> None:
    """404, 409, 422, 429, 5xx and more, for each call; a get of nothing and a group that is not served are answers."""

    async def all_statuses() -> None:
        server = FakeApiServer(tmp_path)
        async with server.cluster() as cluster:
            for status in STATUSES:
                server.become(refusal(status))
                if (name, status) in NONE_IS_AN_ANSWER:
                    assert await CALLS[name](cluster) == NONE_IS_AN_ANSWER[name, status]
                elif (name, status) == ("list", 410):
                    with pytest.raises(Unreachable, match="the list of services expired 3 times"):
                        await CALLS[name](cluster)
                else:
                    with pytest.raises({404: NotFound, 409: Conflict}.get(status, ApiError)) as caught:
                        await CALLS[name](cluster)
                    assert (caught.value.status, caught.value.reason) == (status, "Wrong")
                    assert str(caught.value) == f"that is wrong (HTTP {status})"

    asyncio.run(all_statuses())


def test_an_error_has_the_causes_with_their_fields(tmp_path: Path) -> None:
    causes = [{"reason": "FieldManagerConflict", "message": 'conflict with "kubectl"', "field": ".spec.replicas"}]
    with pytest.raises(Conflict) as caught:
        asyncio.run(FakeApiServer(tmp_path, refusal(409, causes=causes)).do(CALLS["apply"]))
    assert caught.value.causes == (Cause("FieldManagerConflict", 'conflict with "kubectl"', ".spec.replicas"),)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param(refusal(429, retryAfterSeconds=9), 9, id="in the status"),
        pytest.param(web.Response(status=429, text="later", headers={"Retry-After": "3"}), 3, id="in the header alone"),
        pytest.param(web.Response(status=503, headers={"Retry-After": "tomorrow"}), 0, id="not in seconds"),
        pytest.param(refusal(500), 0, id="not at all"),
    ],
)
def test_an_error_says_how_long_the_server_wants_to_be_left_alone(
    answer: web.Response, seconds: float, tmp_path: Path
) -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(FakeApiServer(tmp_path, answer).do(CALLS["apply"]))
    assert caught.value.retry_after == seconds


def test_a_proxy_in_between_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"^<h1>Bad gateway</h1> \(HTTP 502\)$"):
        asyncio.run(FakeApiServer(tmp_path, web.Response(status=502, text="<h1>Bad gateway</h1>")).do(CALLS["apply"]))
    with pytest.raises(ApiError, match=r"HTTP 502"):
        asyncio.run(FakeApiServer(tmp_path, web.Response(status=502, body=b"\xff\xfe")).do(CALLS["apply"]))


@pytest.mark.parametrize("body", [b"<h1>Log in</h1>", b"[]", b"", b"\xff"])
def test_a_page_that_is_no_answer_of_the_api_is_no_answer(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"something else than the API server answers"):
        asyncio.run(FakeApiServer(tmp_path, web.Response(body=body)).do(CALLS["apply"]))


def test_no_answer_is_unreachable(tmp_path: Path) -> None:
    async def silent() -> None:
        server = FakeApiServer(tmp_path)
        async with server.cluster(request_seconds=0.2) as cluster:
            with pytest.raises(Unreachable, match=r"^the API server does not answer: "):
                await cluster.apply(SERVICE)
        with pytest.raises(Unreachable, match=r"^the API server does not answer: "):
            await server_that_is_gone(server)

    async def server_that_is_gone(server: FakeApiServer) -> None:
        async with server.cluster() as cluster:
            pass
        async with connect({"KUBECONFIG": str(tmp_path / "kubeconfig")}, Metrics()) as cluster:
            await cluster.apply(SERVICE)

    asyncio.run(silent())


def test_a_proxy_is_used_as_kubectl_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY says which, NO_PROXY for what not."""

    async def ask(no_proxy: str) -> list[str]:
        proxy = FakeApiServer(tmp_path, web.json_response({}))
        async with proxy.cluster() as direct:
            monkeypatch.setenv("http_proxy", direct.way.server)
            monkeypatch.setenv("no_proxy", no_proxy)
            file = write_kubeconfig(tmp_path / "far", "http://far.invalid:81", token=TOKEN)
            async with connect({"KUBECONFIG": str(file)}, Metrics(), request_seconds=5) as cluster:
                await cluster.apply(SERVICE)
        return [str(request.url.host) for request, _ in proxy.asked]

    assert asyncio.run(ask("elsewhere.invalid")) == ["far.invalid"]
    with pytest.raises(Unreachable):
        asyncio.run(ask("far.invalid"))


def test_no_error_shows_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server = FakeApiServer(tmp_path, refusal(403))

    async def fail() -> str:
        with pytest.raises(ApiError) as caught:
            await server.do(CALLS["apply"])
        assert server.asked[0][0].headers["authorization"] == f"Bearer {TOKEN}"
        return repr(caught.value) + str(caught.value) + server.metrics.text().decode()

    assert TOKEN not in asyncio.run(fail()) + caplog.text


def test_no_way_to_a_cluster_is_said_in_words(tmp_path: Path) -> None:
    async def attempt(path: Path) -> None:
        async with connect({"KUBECONFIG": str(path)}, Metrics()):
            pass

    broken = tmp_path / "broken"
    broken.write_text("{}")
    for path in (tmp_path / "missing", broken):
        with pytest.raises(ConfigurationError, match=r"^no way to a cluster: "):
            asyncio.run(attempt(path))


def test_the_namespace_is_that_of_the_kubeconfig(tmp_path: Path) -> None:
    async def namespace() -> str:
        async with FakeApiServer(tmp_path).cluster() as cluster:
            return cluster.namespace

    assert asyncio.run(namespace()) == "there"


def test_what_is_sent(tmp_path: Path) -> None:
    server = FakeApiServer(tmp_path, web.json_response({}))

    async def send() -> None:
        async with server.cluster() as cluster:
            await cluster.apply(SERVICE, field_manager="somebody", force=False)
            await cluster.apply_status(MODEL)
            await cluster.create(SERVICE)
            await cluster.replace(SERVICE)
            await cluster.delete(Kind.SERVICE, "there", "one", "uid-1")

    asyncio.run(send())
    strict, service = "fieldValidation=Strict", "/api/v1/namespaces/there/services"
    model = "/apis/imagegen.dev/v1alpha1/namespaces/there/imagemodels/one/status"
    assert [(request.method, request.path_qs) for request, _ in server.asked] == [
        ("PATCH", f"{service}/one?fieldManager=somebody&force=false&{strict}"),
        ("PATCH", f"{model}?fieldManager=imagegen-operator&force=true&{strict}"),
        ("POST", f"{service}?{strict}"),
        ("PUT", f"{service}/one?{strict}"),
        ("DELETE", f"{service}/one"),
    ]
    types = [request.headers["content-type"] for request, _ in server.asked]
    assert types == ["application/apply-patch+yaml"] * 2 + ["application/json"] * 3
    bodies = [body for _, body in server.asked]
    assert bodies[:4] == [SERVICE, MODEL, SERVICE, SERVICE]
    assert bodies[4]["preconditions"] == {"uid": "uid-1"}


def test_a_list_is_read_page_by_page(tmp_path: Path) -> None:
    server = FakeApiServer(tmp_path, page("a", "b", following="more"), page("c"))
    items, version = asyncio.run(server.do(lambda cluster: cluster.list_all(Kind.POD, "there", "app=x")))
    assert ([each["metadata"]["name"] for each in items], version) == (["a", "b", "c"], "7")
    asked = [dict(request.query) for request, _ in server.asked]
    assert asked == [
        {"limit": "500", "labelSelector": "app=x"},
        {"limit": "500", "labelSelector": "app=x", "continue": "more"},
    ]


def test_a_list_that_expired_halfway_begins_anew(tmp_path: Path) -> None:
    server = FakeApiServer(tmp_path, page("a", following="more"), refusal(410), page("a"), page("never"))
    items, _ = asyncio.run(server.do(CALLS["list"]))
    assert [each["metadata"]["name"] for each in items] == ["a"], "nothing twice"


def test_requests_are_counted_by_method_kind_and_code(tmp_path: Path) -> None:
    server = FakeApiServer(tmp_path, refusal(409))
    with pytest.raises(Conflict):
        asyncio.run(server.do(CALLS["apply"]))
    line = 'imagegen_operator_requests_total{code="409",kind="Service",method="patch"} 1.0'
    assert line in server.metrics.text().decode().splitlines()
