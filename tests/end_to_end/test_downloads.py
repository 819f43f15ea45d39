"""Models of the Hub on a real server: each fault of line, Hub and disk once.

Every test_fault_* has its row in docs/faults.md, which says what people see and what happens next.
"""

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from conftest import Show
from hub_server import Faults, Hub, hub_server
from hub_sites import MODELS, PICTURE, SECONDS, Site, assert_recovers, failing, serving, small_disk
from imagegen_contract.load_failures import LoadFailure
from imagegen_shapes import WEIGHTS
from server_process import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.acceptance]

UNET = "unet/diffusion_pytorch_model.safetensors"
TOKEN = "hf_secretSECRETsecret"  # noqa: S105 - nobody's


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site for all tests that need no server of their own."""
    folder = tmp_path_factory.mktemp("site")
    with hub_server(dict.fromkeys(MODELS, WEIGHTS)) as hub, serving(hub, folder) as site:
        site.server.wait_ready()
        yield site


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """Return the shared site with nothing wrong."""
    shared.hub.faults = Faults()
    yield shared
    shared.hub.faults = Faults()


_NUMBERS = count()


@pytest.fixture
def model(shared: Site) -> Iterator[str]:
    """Return a model that nobody has loaded before; it is unloaded afterwards."""
    model = MODELS[next(_NUMBERS)]
    yield model
    shared.manage(model, "unload")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Return a Hub for tests with servers of their own."""
    with hub_server(dict.fromkeys(MODELS, WEIGHTS)) as running:
        yield running


def test_fault_killed_in_the_middle(hub: Hub, tmp_path: Path, show: Show) -> None:
    model, whole = MODELS[0], hub.size(MODELS[0])
    hub.faults.bytes_per_second = 2_000_000
    with serving(hub, tmp_path, "--load", model) as site:
        wait_until(lambda: hub.total_sent > whole / 2, SECONDS, "half of the download")
        site.server.process.kill()
        site.server.process.wait(10)
    before = hub.total_sent
    hub.faults.bytes_per_second = None

    with serving(hub, tmp_path, "--load", model) as site:
        site.wait_ready(model)

    rest = hub.total_sent - before
    assert rest < 0.6 * whole
    show(
        "2 kill -9 in the middle of a download", f"{before / 1e6:.1f} of {whole / 1e6:.1f} MB, then {rest / 1e6:.1f} MB"
    )


def test_fault_two_processes_at_once(hub: Hub, tmp_path: Path, show: Show) -> None:
    model, whole = MODELS[0], hub.size(MODELS[0])
    hub.faults.bytes_per_second = 2_000_000
    with serving(hub, tmp_path, "--load", model) as one, serving(hub, tmp_path, "--load", model) as other:
        one.wait_ready(model)
        other.wait_ready(model)

    assert hub.total_sent == whole
    show("2 two processes want one model", f"{hub.total_sent / 1e6:.1f} MB sent of {whole / 1e6:.1f} MB")


def test_fault_corrupt_file(site: Site, model: str, show: Show) -> None:
    site.hub.faults.corrupt.add(UNET)

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.CHECKSUM_MISMATCH)
    assert f"hf://{model}/{UNET} arrived with another size or checksum" in info["error"]
    assert_recovers(site, model, show, f"corrupt file: {info['reason']}")


def test_fault_cache_changed_on_disk(hub: Hub, tmp_path: Path, show: Show) -> None:
    model = MODELS[0]
    with serving(hub, tmp_path, "--load", model) as site:
        site.wait_ready(model)
    (place,) = (tmp_path / "cache").glob(f"models--*/snapshots/*/{UNET}")
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)

    with serving(hub, tmp_path, "--load", model) as site:
        site.wait_ready(model)
        warnings = [line for line in site.server.log if line["message"] == "a file of the cache is corrupt"]

    assert len(warnings) == 1
    assert place.read_bytes() == (WEIGHTS / UNET).read_bytes()
    show("2 a file of the cache changed on disk", "found at the next start and downloaded again")


def test_fault_gated(site: Site, model: str, show: Show) -> None:
    site.hub.faults.gated = True

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("failed", LoadFailure.ACCESS_DENIED)
    assert f"accept the terms on https://huggingface.co/{model}, then set HF_TOKEN" in info["error"]
    site.hub.faults.gated = False
    site.manage(model, "load")
    site.wait_ready(model)
    show("2 gated repository", f"{info['reason']}: {info['error']}")


def test_fault_token_without_access(hub: Hub, tmp_path: Path, show: Show) -> None:
    model, token_file = MODELS[0], tmp_path / "token"
    token_file.write_text(TOKEN)
    hub.faults.gated = True
    hub.known.add(TOKEN)
    with serving(hub, tmp_path, "--hub-token-file", str(token_file), "--log-level", "debug") as site:
        info = failing(site, model)
        assert (info["state"], info["reason"]) == ("failed", LoadFailure.ACCESS_DENIED)
        assert "the account of the token has no access" in info["error"]
        hub.accepted.add(TOKEN)
        site.manage(model, "load")
        site.wait_ready(model)
        logged = json.dumps(site.server.log) + "".join(site.server.stderr)

    assert TOKEN not in logged
    assert {token for _, path, token in hub.requests if path.startswith("/storage")} == {""}
    show("2 token without access", f"{info['reason']}; the token in no log line, and not sent to the storage")


def test_fault_no_such_repository(site: Site, model: str, show: Show) -> None:
    folder = site.hub.folders.pop(model)

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("failed", LoadFailure.WEIGHTS_NOT_FOUND)
    assert f"hf://{model}: the Hub at " in info["error"]
    assert "has no such repository" in info["error"]
    site.hub.folders[model] = folder
    show("2 no such repository (404)", f"{info['reason']}: {info['error']}")


def test_fault_errors_that_pass(site: Site, model: str, show: Show) -> None:
    site.hub.faults.refuse(500, times=2)

    site.manage(model, "load")
    site.wait_ready(model)

    assert not site.hub.faults.refusals
    assert not [
        line for line in site.server.log if line["message"] == "model failed to load" and line["model"] == model
    ]
    show("2 two answers 500", "tried again within the load; nobody saw it")


def test_fault_errors_that_last(site: Site, model: str, show: Show) -> None:
    site.hub.faults.refuse(503, times=1000)

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.HUB_ERROR)
    assert "answers 503; try again later" in info["error"]
    assert_recovers(site, model, show, f"answers 503 without end: {info['reason']}")


def test_fault_too_many_requests(site: Site, model: str, show: Show) -> None:
    site.hub.faults.refuse(429, times=1000, retry_after="3600")

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.HUB_ERROR)
    assert "too many requests from here (429) and asks to wait 3600 s" in info["error"]
    assert_recovers(site, model, show, f"answers 429: {info['reason']}")


def test_fault_no_hub(site: Site, model: str, show: Show) -> None:
    site.hub.faults.garbage = True

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.HUB_ERROR)
    assert "does not speak its protocol" in info["error"]
    assert_recovers(site, model, show, f"a log-in page answers: {info['reason']}")


def test_fault_reset_connections(site: Site, model: str, show: Show) -> None:
    site.hub.faults.reset_at, site.hub.faults.resets = 500_000, 5

    site.manage(model, "load")
    site.wait_ready(model)

    assert site.hub.faults.resets == 0
    sent = site.hub.bytes_sent[f"{model}/{UNET}"]
    size = site.hub.size(model, UNET)
    assert sent < 1.5 * size
    show("2 connection reset five times", f"{sent / 1e6:.1f} MB sent of {size / 1e6:.1f} MB")


def test_fault_slow_line(site: Site, model: str, show: Show) -> None:
    site.hub.faults.bytes_per_second = 1_000_000

    site.manage(model, "load")
    first = site.wait(model, "say how far it is", lambda info: info["progress"] and info["progress"]["eta_seconds"])
    began = time.monotonic()
    others = site.server.post(PICTURE | {"model": "imagegen/shapes"})
    seconds = time.monotonic() - began
    later = site.wait(
        model, "be further", lambda info: (info["progress"] or {"percent": 0})["percent"] > first["progress"]["percent"]
    )

    assert others.status_code == 200
    assert first["stage"] == "fetching weights"
    assert first["progress"]["bytes_total"] == later["progress"]["bytes_total"] == site.hub.size(model)
    assert 100_000 < first["progress"]["bytes_per_second"] < 10_000_000
    show(
        "2 slow line",
        f"{first['progress']['percent']:.0f} %, then {later['progress']['percent']:.0f} %; "
        f"another model's picture meanwhile in {seconds:.1f} s",
    )


def test_fault_stalled_line(site: Site, model: str, show: Show) -> None:
    site.hub.faults.stall_at = 100_000

    info = failing(site, model)

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.HUB_UNREACHABLE)
    assert "nothing came for 2 s" in info["error"]
    assert_recovers(site, model, show, f"stalled line: {info['reason']}")


def test_fault_hub_gone_at_a_restart(tmp_path: Path, show: Show) -> None:
    model = MODELS[0]
    with hub_server({model: WEIGHTS}) as hub, serving(hub, tmp_path, "--load", model) as site:
        commit = site.wait_ready(model)["revision"]

    with serving(hub, tmp_path, "--load", model) as site:
        info = site.wait_ready(model)
        warned = [line for line in site.server.log if line["message"].startswith("the Hub cannot be asked")]

    assert info["revision"] == commit
    assert len(warned) == 1
    show("2 the Hub is gone at a restart", "ready from the cache, with a warning")


def test_fault_offline(hub: Hub, tmp_path: Path, show: Show) -> None:
    there, missing = MODELS[0], MODELS[1]
    with serving(hub, tmp_path, "--load", there) as site:
        site.wait_ready(there)
    asked = len(hub.requests)

    with serving(hub, tmp_path, "--load", there, HF_HUB_OFFLINE="1") as site:
        site.wait_ready(there)
        info = failing(site, missing)

    assert len(hub.requests) == asked
    assert (info["state"], info["reason"]) == ("failed", LoadFailure.WEIGHTS_NOT_CACHED)
    assert "it lacks model_index.json" in info["error"]
    show("2 offline", f"what is in the cache is ready; else {info['reason']}")


def test_fault_disk_too_small(hub: Hub, tmp_path: Path, show: Show) -> None:
    with small_disk(hub, tmp_path, kib=10_000) as disk:
        info = failing(disk.site, MODELS[0])
        sent = hub.bytes_sent[f"{MODELS[0]}/{UNET}"]
        disk.run("mount", "-o", "remount,size=200000k", str(tmp_path / "cache"))
        disk.site.wait_ready(MODELS[0])

    assert (info["state"], info["reason"], sent) == ("loading", LoadFailure.DISK_FULL, 0)
    assert "the download needs 7.3 MB and 7.3 MB to spare" in info["error"]
    assert f"10.2 MB are free in {tmp_path}/cache; make room there, or set hub_cache" in info["error"]
    show("2 disk too small", f"{info['reason']} before the first byte of weights; ready once there was room")


def test_fault_disk_fills_up(hub: Hub, tmp_path: Path, show: Show) -> None:
    filler = str(tmp_path / "cache" / "filler")
    with small_disk(hub, tmp_path, kib=20_000) as disk:
        hub.faults.bytes_per_second = 2_000_000
        disk.site.manage(MODELS[0], "load")
        wait_until(lambda: hub.bytes_sent[f"{MODELS[0]}/{UNET}"] > 500_000, SECONDS, "the first bytes of the weights")
        disk.run("sh", "-c", f"head -c 30000000 /dev/zero > {filler} || true")
        info = disk.site.wait_failed(MODELS[0])
        disk.run("rm", filler)
        hub.faults = Faults()
        disk.site.wait_ready(MODELS[0])

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.DISK_FULL)
    assert f"the cache {tmp_path}/cache is full; make room" in info["error"]
    show("2 disk fills up meanwhile", f"{info['reason']}; ready once there was room")


def test_fault_cache_not_writable(hub: Hub, tmp_path: Path, show: Show) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    with serving(hub, tmp_path) as site:
        info = failing(site, MODELS[0])
        (tmp_path / "cache").unlink()
        site.wait_ready(MODELS[0])

    assert (info["state"], info["reason"]) == ("loading", LoadFailure.DISK_FULL)
    assert "cannot be written to" in info["error"]
    show("2 cache that cannot be written to", f"{info['reason']}; ready once that was mended")
