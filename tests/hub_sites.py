"""A real server that fetches from a Hub on loopback, and a disk of its own for its cache."""

import json
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Show
from hub_server import Faults, Hub
from server_process import ServerProcess, start_server, wait_until

MODELS = [f"acme/model-{number}" for number in range(20)]
"""One for each test, so that each finds the cache empty of its own."""
PICTURE = {"prompt": "a red circle on a blue background", "num_inference_steps": 2, "size": "64x64"}
SETTINGS = {"steps": 8, "guidanceScale": 3.0, "size": "128x128"}
SECONDS = 60.0
"""Longest wait for anything."""


class Site:
    """A server, the Hub that it asks, and its cache."""

    def __init__(self, server: ServerProcess, hub: Hub) -> None:
        self.server = server
        self.hub = hub

    def info(self, model: str) -> dict[str, Any]:
        """Return the model as /v1/models shows it."""
        return self.server.get(f"/v1/models/{model}").json()

    def wait(self, model: str, what: str, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait for a state of the model and return it."""
        wait_until(lambda: condition(self.info(model)), SECONDS, f"{model} to {what}", every=0.05)
        return self.info(model)

    def wait_ready(self, model: str) -> dict[str, Any]:
        """Wait until the model serves, and have it make a picture."""
        info = self.wait(model, "be ready", lambda info: info["state"] == "ready")
        reply = self.server.post(PICTURE | {"model": model})
        assert reply.status_code == 200, reply.text
        return info

    def wait_failed(self, model: str) -> dict[str, Any]:
        """Wait until a load has failed."""
        return self.wait(model, "fail", lambda info: info["error"])

    def manage(self, model: str, verb: str) -> None:
        """Load or unload."""
        reply = httpx.post(f"{self.server.url}/v1/models/{model}/{verb}", timeout=30)
        assert reply.status_code in {200, 202}, reply.text


@contextmanager
def serving(
    hub: Hub, folder: Path, *flags: str, module: str = "imagegen_server.main", **environment: str
) -> Generator[Site]:
    """Start a server that asks ``hub`` and keeps its cache in ``folder``; it has the model of the last flag loaded."""
    catalog = folder / "models_info.json"
    identity = {"publisher": "t", "family": "f", "version": "1", "inference": SETTINGS}
    entries = [identity | {"id": model, "source": f"hf://{model}"} for model in MODELS]
    catalog.write_text(json.dumps([identity | {"id": "imagegen/shapes", "source": "builtin://shapes"}, *entries]))
    places = ["--catalog", str(catalog), "--hub-endpoint", hub.url, "--hub-cache", str(folder / "cache")]
    nobody = {"HF_TOKEN": "", "HF_TOKEN_PATH": str(folder / "no-token"), "HF_HUB_DOWNLOAD_TIMEOUT": "2"}
    here = {"PYTHONPATH": str(Path(__file__).parent), **nobody, **environment}
    with start_server(*places, *flags, module=module, environment=here) as server:
        yield Site(server, hub)


def failing(site: Site, model: str) -> dict[str, Any]:
    """Load a model that cannot be, look at the reply to who asks for a picture, and return the model's state."""
    site.manage(model, "load")
    info = site.wait_failed(model)
    reply = site.server.post(PICTURE | {"model": model})
    error = reply.json()["error"]
    assert (reply.status_code, info["error"] in error["message"]) == (503, True), reply.text
    assert error["code"] == ("model_failed" if info["state"] == "failed" else "model_loading")
    return info


def assert_recovers(site: Site, model: str, show: Show, seen: str) -> None:
    """See to it that the server has the model by itself, once nothing is wrong any more."""
    site.hub.faults = Faults()
    site.wait_ready(model)
    show(f"2 {seen.partition(':')[0]}", f"{seen.partition(':')[2].strip()}; ready once that was over, without restart")


class SmallDisk:
    """A server whose cache is on a disk of its own, which can be seen from here through the server's namespaces."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._enter = [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            str(site.server.process.pid),
        ]

    def run(self, *command: str) -> None:
        """Run a command where the disk is."""
        subprocess.run([*self._enter, *command], check=True, timeout=30, capture_output=True)


@contextmanager
def small_disk(hub: Hub, folder: Path, kib: int) -> Generator[SmallDisk]:
    """Start a server with a cache on a disk of so many KiB."""
    if subprocess.run(["unshare", "--map-root-user", "--mount", "true"], check=False, timeout=30).returncode:
        pytest.skip("this machine lets nobody make mount namespaces, so there is no small disk to fill")
    (folder / "cache").mkdir()
    disk = {"SMALL_DISK_FOLDER": str(folder / "cache"), "SMALL_DISK_KIB": str(kib)}
    with serving(hub, folder, module="misbehaving.small_disk_server", **disk) as site:
        yield SmallDisk(site)
