"""The start of a server: it listens before it can serve, and wrong settings end it with words."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import Show
from server_process import ServerProcess, start_server

pytestmark = pytest.mark.slow

REFUSED: dict[str, tuple[list[str], dict[str, str], list[str]]] = {
    "a typo in a variable's name": (
        [],
        {"IMAGEGEN_SERVER_PROT": "8000"},
        ["IMAGEGEN_SERVER_PROT", "unknown setting", "did you mean IMAGEGEN_SERVER_PORT?"],
    ),
    "a value that is no number": ([], {"IMAGEGEN_SERVER_MAX_IMAGES": "many"}, ["IMAGEGEN_SERVER_MAX_IMAGES", '"many"']),
    "a value out of range": (["--drain-seconds", "0"], {}, ["IMAGEGEN_SERVER_DRAIN_SECONDS", '"0"', "> 0"]),
    "a value that is none of those allowed": (["--device", "tpu"], {}, ["IMAGEGEN_SERVER_DEVICE", '"tpu"']),
    "a catalog that is not there": (["--catalog", "nowhere.json"], {}, ["nowhere.json: cannot be read: No such file"]),
    "a catalog that is no JSON": (["--catalog", "torn.json"], {}, ["torn.json"]),
    "a catalog with a wrong entry": (["--catalog", "wrong.json"], {}, ["wrong.json: entry 1", "colour"]),
    "a model to load that the catalog lacks": (
        ["--load", "imagegen/shape"],
        {},
        ["'imagegen/shape' is not in the catalog", "did you mean", "imagegen/shapes"],
    ),
    "a default model that the catalog lacks": (["--default-model", "xyz"], {}, ["'xyz' is not in the catalog"]),
    "a model of a pod that is no JSON": ([], {"IMAGEGEN_SERVER_MODEL": "{"}, ["IMAGEGEN_SERVER_MODEL: not JSON"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with catalogs that are no good."""
    (tmp_path / "torn.json").write_text('[{"id": "acme/one",')
    (tmp_path / "wrong.json").write_text(
        '[{"id": "acme/one", "publisher": "a", "family": "b", "version": "1", "colour": 1}]'
    )
    return tmp_path


def start(folder: Path, flags: list[str], environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the server in ``folder`` until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "imagegen_server.main", "--port", "0", *flags],
        cwd=folder,
        env={**os.environ, **environment},  # noqa: TID251 - a child needs its parent's environment
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(("flags", "environment", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_settings_end_the_server_with_words(
    folder: Path, flags: list[str], environment: dict[str, str], words: list[str]
) -> None:
    done = start(folder, flags, environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("imagegen-server: ")
    assert [word for word in words if word not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr


def test_every_wrong_setting_is_told_at_once(folder: Path) -> None:
    done = start(folder, ["--device", "tpu", "--max-images", "99"], {"IMAGEGEN_SERVER_HOTS": "::1"})
    assert done.returncode == 2
    assert sorted(re.findall(r"IMAGEGEN_SERVER_[A-Z_]+(?=:)", done.stderr)) == [
        "IMAGEGEN_SERVER_DEVICE",
        "IMAGEGEN_SERVER_HOTS",
        "IMAGEGEN_SERVER_MAX_IMAGES",
    ]


def test_a_pod_of_a_newer_operator_serves_and_names_what_it_left_out() -> None:
    model = {"publisher": "imagegen", "family": "shapes", "version": "1", "id": "imagegen/shapes"}
    model |= {"source": "builtin://shapes", "gpu": {"count": 0, "share": 0.5}}
    environment = {"IMAGEGEN_SERVER_MODEL": json.dumps(model), "IMAGEGEN_SERVER_COMPILE": "true"}
    with start_server(environment=environment) as pod:
        pod.wait_ready()
        assert pod.post({"prompt": "a red circle", "size": "128x128"}).status_code == 200
        told = [line["setting"] for line in pod.log if line["message"] == "a setting was left out"]
    assert [line.split(":")[0] for line in told] == [
        "IMAGEGEN_SERVER_COMPILE",
        "IMAGEGEN_SERVER_MODEL field gpu.share",
    ]


@pytest.fixture
def taken() -> Iterator[str]:
    """Return a port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield str(other.getsockname()[1])


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_that_is_not_ours_is_one_clear_line(folder: Path, host: str) -> None:
    done = start(folder, ["--host", host], {})
    assert done.returncode == 2
    assert done.stderr.startswith(f"imagegen-server: cannot listen on {host} port 0: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--port", "--management-port"])
def test_a_port_in_use_is_one_clear_line(folder: Path, taken: str, flag: str) -> None:
    done = start(folder, [flag, taken], {})
    assert done.returncode == 2
    assert done.stderr == f"imagegen-server: cannot listen on 127.0.0.1 port {taken}: Address already in use\n"


@pytest.fixture(scope="module")
def pod() -> Iterator[ServerProcess]:
    """Return a server with two ports, as in a pod, just when it listens."""
    with start_server("--management-port", "0") as process:
        yield process


def managed(pod: ServerProcess) -> str:
    (line,) = (line for line in pod.log if line["message"] == "listening")
    return line["management"]


@pytest.mark.acceptance
def test_a_server_listens_before_it_can_serve_and_says_what_it_does(show: Show) -> None:
    with start_server("--load-wait-seconds", "0") as starting:
        early = starting.get("/readyz")
        assert starting.get("/healthz").status_code == 200
        assert (early.status_code, early.json()["error"]["code"]) == (503, "model_loading")
        assert early.json()["error"]["message"] == "the server is loading"
        refused = starting.post({"prompt": "a red circle"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_loading")
        assert refused.headers["x-imagegen-started"] == "0"
        starting.wait_ready()
        assert starting.post({"prompt": "a red circle", "size": "128x128"}).status_code == 200
    show("5 listens before its model is there", "readyz 503 model_loading, then 200")


def test_probes_and_metrics_are_on_the_management_port_alone(pod: ServerProcess) -> None:
    url = managed(pod)
    assert url != pod.url
    pod_ready = [httpx.get(f"{url}{path}", timeout=30).status_code for path in ("/healthz", "/status", "/metrics")]
    assert pod_ready == [200, 200, 200]
    for path in ("/healthz", "/readyz", "/status", "/metrics"):
        answer = pod.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert pod.get("/v1/models").status_code == 200
    for path in ("/v1/models", "/docs", "/openapi.json", "/"):
        assert httpx.get(f"{url}{path}", timeout=30).status_code == 404
    assert httpx.post(f"{url}/v1/images/generations", json={"prompt": "a"}, timeout=30).status_code == 404


def test_requests_on_both_ports_are_counted_together(pod: ServerProcess) -> None:
    pod.get("/v1/models")
    metrics = httpx.get(f"{managed(pod)}/metrics", timeout=30).text
    assert 'imagegen_requests_total{code="",route="/v1/models",status="200"}' in metrics
    assert 'route="/metrics"' in metrics or 'route="/healthz"' in metrics
