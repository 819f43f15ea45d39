"""/healthz, /readyz and /metrics of the operator."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from cluster.api import Api
from imagegen_operator.errors import ConfigurationError
from imagegen_operator.health import Health
from imagegen_operator.metrics import Metrics
from operator_process import OperatorProcess, start_operator
from operator_scenes import image_model
from server_process import wait_until


def health_at(host: str, port: int, trouble: Callable[[], str] = str, absence: Callable[[], str] = str) -> Health:
    """Return what is not listening yet."""
    return Health(host, port, trouble=trouble, absence=absence, metrics=Metrics())


def answers(
    *paths: str, trouble: Callable[[], str] = str, absence: Callable[[], str] = str
) -> list[tuple[int, str, str]]:
    """Return status, content type and body of each path."""

    async def ask() -> list[tuple[int, str, str]]:
        health = health_at("127.0.0.1", 0, trouble, absence)
        async with health, aiohttp.ClientSession(health.url) as client:
            replies = [await client.get(path) for path in paths]
            return [(reply.status, reply.headers["content-type"], await reply.text()) for reply in replies]

    return asyncio.run(ask())


def test_an_operator_that_is_well_is_alive_and_ready() -> None:
    assert [(status, body) for status, _, body in answers("/healthz", "/readyz")] == [(200, "alive"), (200, "ready")]


def test_healthz_says_why_the_process_should_be_started_anew() -> None:
    words = "no sign of life from the watch of Pod"
    (alive, ready) = answers("/healthz", "/readyz", trouble=lambda: words)
    assert (alive[0], alive[2]) == (503, words)
    assert ready[0] == 200, "it must not lose its Service for what a new start mends"


def test_readyz_says_why_an_operator_is_not_at_its_place() -> None:
    words = "the catalog has not been applied yet"
    (alive, ready) = answers("/healthz", "/readyz", absence=lambda: words)
    assert (alive[0], ready[0], ready[2]) == (200, 503, words)


def test_healthz_is_asked_each_time() -> None:
    words = iter(["", "the watch ended", ""])
    assert [status for status, _, _ in answers(*["/healthz"] * 3, trouble=lambda: next(words))] == [200, 503, 200]


def test_metrics_are_in_the_exposition_format() -> None:
    ((status, kind, body),) = answers("/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "# HELP imagegen_operator_leader 1 on the operator that has the lease" in body


def test_there_is_nothing_else() -> None:
    assert [status for status, _, _ in answers("/", "/status")] == [404, 404]


def test_an_address_with_colons_makes_a_url() -> None:
    async def url() -> str:
        async with health_at("::1", 0) as health:
            return health.url

    try:
        assert asyncio.run(url()).startswith("http://[::1]:")
    except ConfigurationError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


@pytest.mark.parametrize(
    ("host", "words"),
    [(None, "cannot listen on 127.0.0.1 port {port}: "), ("192.0.2.1", "cannot listen on 192.0.2.1 port {port}: ")],
)
def test_an_address_that_is_taken_or_foreign_is_said_in_words(host: str | None, words: str) -> None:
    async def twice() -> Any:
        async with health_at("127.0.0.1", 0) as first:
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(ConfigurationError) as caught:
                async with health_at(host or "127.0.0.1", port):
                    pass
            return str(caught.value), port

    message, port = asyncio.run(twice())
    assert message.startswith(words.format(port=port))
    assert len(message) > len(words.format(port=port)), "with the system's own words"


@pytest.mark.slow
@pytest.mark.usefixtures("crd")
def test_who_waits_for_readiness_finds_the_models_of_the_catalog(
    kubernetes: Api, kubeconfig: Path, tmp_path: Path
) -> None:
    """`helm install --wait` and then `kubectl wait`: an ImageModel that is not there yet would be an error."""
    catalog = tmp_path / "models_info.json"
    catalog.write_text(json.dumps([image_model(name)["spec"] for name in ("one", "two")]))
    flags = ("--catalog", str(catalog))
    with start_operator(kubeconfig, kubernetes.namespace, *flags) as leader:
        _wait_ready(leader)
        assert {each["metadata"]["name"] for each in kubernetes.list("ImageModel")} == {"acme-one", "acme-two"}
        with start_operator(kubeconfig, kubernetes.namespace, *flags) as standby:
            _wait_ready(standby)
            assert not standby.messages("leading")


def _wait_ready(operator: OperatorProcess) -> None:
    url = operator.listening()
    wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 30, "readiness", every=0.005)


@pytest.mark.slow
@pytest.mark.usefixtures("crd")
def test_an_operator_that_waits_for_one_that_died_is_not_ready(kubernetes: Api, kubeconfig: Path) -> None:
    """It is what an uninstalled release leaves: a Lease that its operator could not give back."""
    held = {"holderIdentity": "gone", "leaseDurationSeconds": 3, "leaseTransitions": 0}
    times = dict.fromkeys(("acquireTime", "renewTime"), "2026-01-01T00:00:00.000000Z")
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "imagegen-operator"}}
    kubernetes.create({**lease, "spec": {**held, **times}})
    with start_operator(kubeconfig, kubernetes.namespace) as running:
        url = running.listening()
        running.next_line("waiting for the lease", 30)
        assert httpx.get(f"{url}/readyz").status_code == 503
        running.wait_leading()
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 30, "readiness", every=0.05)
