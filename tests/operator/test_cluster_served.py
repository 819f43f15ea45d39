"""The Kubernetes client and a real API server: what it takes, how it refuses, and the ways to reach it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from cluster.accounts import account_token
from cluster.api import Api
from cluster.kubeconfig import write_kubeconfig
from imagegen_operator.cluster import Cluster, connect
from imagegen_operator.errors import ApiError, ConfigurationError, Conflict, NotFound, Unreachable
from imagegen_operator.kinds import Kind
from imagegen_operator.metrics import Metrics
from imagegen_operator.transitions import EventText

pytestmark = pytest.mark.slow

TOKEN = "a-token-that-nobody-may-see"  # noqa: S105 - of no real server

Call = Callable[[Cluster], Awaitable[Any]]


@pytest.fixture
def real(kubeconfig: Path) -> Callable[[Call], Any]:
    """Return a function that makes a call with a real API server."""

    def do(call: Call) -> Any:
        async def connected() -> Any:
            async with connect({"KUBECONFIG": str(kubeconfig)}, Metrics()) as cluster:
                return await call(cluster)

        return asyncio.run(connected())

    return do


def service(namespace: str, port: int = 80, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "one", "namespace": namespace, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}], **spec}}


def test_a_real_api_server_takes_what_is_sent(real: Callable[[Call], Any], kubernetes: Api) -> None:
    there = kubernetes.namespace
    assert real(lambda cluster: cluster.get(Kind.SERVICE, there, "one")) is None
    created = real(lambda cluster: cluster.apply(service(there)))
    assert real(lambda cluster: cluster.get(Kind.SERVICE, there, "one")) == created
    again = real(lambda cluster: cluster.apply(service(there)))
    assert again["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    for selector, count in (("app=x", 1), ("app=y", 0)):
        items, _ = real(lambda cluster, selector=selector: cluster.list_all(Kind.SERVICE, there, selector))
        assert len(items) == count
    assert "deployments" in real(lambda cluster: cluster.discover("apps/v1"))
    assert real(lambda cluster: cluster.discover("nobody.example/v1")) == frozenset()
    real(lambda cluster: cluster.delete(Kind.SERVICE, there, "one", created["metadata"]["uid"]))
    assert kubernetes.find("Service", "one") is None


def test_a_real_api_servers_refusals(real: Callable[[Call], Any], kubernetes: Api) -> None:
    there = kubernetes.namespace
    kubernetes.apply(service(there, sessionAffinity="None"), manager="kubectl")
    with pytest.raises(Conflict) as taken:
        real(lambda cluster: cluster.apply(service(there, sessionAffinity="ClientIP"), force=False))
    assert [(cause.reason, cause.field) for cause in taken.value.causes] == [
        ("FieldManagerConflict", ".spec.sessionAffinity")
    ]
    with pytest.raises(ApiError, match=r"\.spec\.portz: field not declared in schema"):
        real(lambda cluster: cluster.apply(service(there, portz=[])))
    with pytest.raises(Conflict, match=r"the UID in the precondition"):
        real(lambda cluster: cluster.delete(Kind.SERVICE, there, "one", "another"))
    with pytest.raises(NotFound, match=r'services "two" not found'):
        real(lambda cluster: cluster.delete(Kind.SERVICE, there, "two", "another"))
    with pytest.raises(ApiError, match=r"Invalid value: 99999.*HTTP 422"):
        real(lambda cluster: cluster.apply(service(there, port=99999)))


def test_an_event_is_seen_with_its_object_and_cut_when_it_is_too_long(
    real: Callable[[Call], Any], kubernetes: Api
) -> None:
    made = real(lambda cluster: cluster.apply(service(kubernetes.namespace)))
    regarding = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "one",
        "namespace": kubernetes.namespace,
        "uid": made["metadata"]["uid"],
    }
    long = EventText(type="Warning", reason="Long", message="ä" * 1000)
    real(lambda cluster: cluster.create_event(regarding, long))
    (event,) = kubernetes.list("Event")
    assert (event["reason"], event["type"], event["message"]) == ("Long", "Warning", "ä" * 512)
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]


def test_a_token_that_is_not_known_is_said_in_words(kubernetes: Api, tmp_path: Path) -> None:
    file = write_kubeconfig(tmp_path / "other", kubernetes.url, token=TOKEN, ca=kubernetes.ca)

    async def ask() -> None:
        async with connect({"KUBECONFIG": str(file)}, Metrics()) as cluster:
            await cluster.get(Kind.SERVICE, "default", "kubernetes")

    with pytest.raises(ApiError, match=r"Unauthorized \(HTTP 401\)"):
        asyncio.run(ask())


def test_a_pod_uses_its_service_account(kubernetes: Api, tmp_path: Path) -> None:
    token = account_token(kubernetes, "operator", [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}])
    assert kubernetes.ca
    address = urlsplit(kubernetes.url)
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(address.port)}
    for name, content in (("token", token), ("ca.crt", kubernetes.ca.read_text()), ("namespace", "there\n")):
        (tmp_path / name).write_text(content)

    async def ask() -> str:
        async with connect(environment, Metrics(), account=tmp_path) as cluster:
            await cluster.list_all(Kind.SERVICE, kubernetes.namespace)
            with pytest.raises(ApiError, match=r"cannot list resource \"pods\".* \(HTTP 403\)"):
                await cluster.list_all(Kind.POD, kubernetes.namespace)
            return cluster.namespace

    assert asyncio.run(ask()) == "there"
    (tmp_path / "namespace").unlink()
    with pytest.raises(ConfigurationError, match=r"no way to a cluster: .*namespace"):
        asyncio.run(ask())
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigurationError, match=r"no way to a cluster: Service token file does not exist"):
        asyncio.run(ask())


@pytest.mark.parametrize(("name", "answers"), [("10.96.0.1", True), ("other.example", False)])
def test_watches_go_the_same_way_as_requests(name: str, answers: bool, kubeconfig: Path, tmp_path: Path) -> None:
    """Credentials, TLS and the name on the certificate are those of the kubeconfig."""
    document = json.loads(kubeconfig.read_text())
    document["clusters"][0]["cluster"]["tls-server-name"] = name
    (tmp_path / "named").write_text(json.dumps(document))

    async def go() -> None:
        environment = {"KUBECONFIG": str(tmp_path / "named")}
        async with connect(environment, Metrics()) as cluster, cluster.way.session() as session:
            if answers:
                await cluster.list_all(Kind.POD, "default")
                reply = await session.get(f"{cluster.way.server}/api/v1/namespaces/default/pods")
                assert reply.status == 200
                return
            with pytest.raises(Unreachable, match=name):
                await cluster.list_all(Kind.POD, "default")
            with pytest.raises(aiohttp.ClientConnectorCertificateError, match=name):
                await session.get(f"{cluster.way.server}/api")

    asyncio.run(go())
