"""Which headers and bytes of a client's request reach a pod."""

import codecs
from collections.abc import Iterator

import httpx
import pytest

from misbehaving.pods import MODEL, StubPod, pod
from router_process import RouterProcess, start_router
from server_process import wait_until

BODY = b'{"prompt": "a red circle", "model": "%s"}' % MODEL.encode()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stub() -> Iterator[StubPod]:
    """Return a pod that makes pictures."""
    with pod() as one:
        yield one


@pytest.fixture(scope="module")
def router(stub: StubPod) -> Iterator[RouterProcess]:
    """Return a router before it."""
    with start_router("--endpoint", f"{MODEL}={stub.url}") as running:
        wait_until(lambda: running.serving() == 1, 20, "the pod to take work")
        yield running


def test_an_offer_of_another_protocol_stays_between_client_and_router(router: RouterProcess, stub: StubPod) -> None:
    offer = {"connection": "Upgrade, HTTP2-Settings, x-own", "upgrade": "h2c", "http2-settings": "AAMA", "x-own": "1"}
    assert router.post(BODY, headers={**offer, "x-other": "2"}).status_code == 200
    received = stub.requests[-1]
    assert received.body == BODY
    assert received.headers["x-other"] == "2"
    assert received.headers.keys().isdisjoint(offer)


def test_a_byte_order_mark_does_not_reach_a_pod(router: RouterProcess, stub: StubPod) -> None:
    assert router.post(codecs.BOM_UTF8 + BODY).status_code == 200
    received = stub.requests[-1]
    assert (received.body, received.headers["content-length"]) == (BODY, str(len(BODY)))


@pytest.mark.parametrize("path", ["//v1/images/generations", "/v1/images/generations/", "/v1/%69mages//generations"])
def test_a_pod_is_asked_by_the_one_path(router: RouterProcess, stub: StubPod, path: str) -> None:
    before = len(stub.requests)
    answer = httpx.post(f"{router.url}{path}", content=BODY, headers={"content-type": "application/json"})
    assert (answer.status_code, len(stub.requests)) == (200, before + 1)


def test_what_is_packed_reaches_no_pod(router: RouterProcess, stub: StubPod) -> None:
    before = len(stub.requests)
    answer = router.post(BODY, headers={"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert len(stub.requests) == before
