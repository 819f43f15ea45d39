"""Each cause of a model that is not loaded: its code, its words, and every place where they show."""

import json
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from answers import valid_error
from command_line import imagegen
from conftest import Show
from hub_server import Faults, hub_server
from imagegen_contract.load_failures import TRANSIENT, LoadFailure
from imagegen_shapes import WEIGHTS
from server_process import ServerProcess, start_server, wait_until

pytestmark = pytest.mark.slow

OPERATIONS = Path(__file__).parent.parent.parent / "docs" / "operations.md"
PICTURE = {"prompt": "a red circle on a blue background", "num_inference_steps": 2, "size": "64x64"}
UNET = "unet/diffusion_pytorch_model.safetensors"


def nothing(_: object) -> None:
    """Leave it as it is."""


@dataclass(frozen=True)
class Cause:
    """One way in which a model is not loaded.

    ``source`` may name {folder}, which ``damage`` has been let loose on, and {repository}, which is on the Hub with
    its ``fault``. ``flags`` are for the server, ``module`` is another one.
    """

    reason: LoadFailure
    words: str
    source: str = "{repository}"
    damage: Callable[[Path], object] = nothing
    fault: Callable[[Faults], object] = nothing
    flags: tuple[str, ...] = ()
    module: str = "imagegen_server.main"


def only_pickles(folder: Path) -> None:
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_tensor_less(path: Path) -> None:
    tensors = load_file(path)
    tensors.popitem()
    save_file(tensors, path)


CAUSES: dict[str, Cause] = {
    "a scheme that this server lacks": Cause(
        LoadFailure.SOURCE_UNSUPPORTED, "this server cannot load from pvc://", "pvc://claim/path"
    ),
    "no such model inside": Cause(LoadFailure.SOURCE_UNSUPPORTED, "allowed: builtin://shapes", "builtin://circles"),
    "no such folder": Cause(LoadFailure.WEIGHTS_NOT_FOUND, "there is no such folder", "file:///no/such/folder"),
    "no such repository": Cause(LoadFailure.WEIGHTS_NOT_FOUND, "acme/nowhere", "hf://acme/nowhere"),
    "a gated repository, no token": Cause(
        LoadFailure.ACCESS_DENIED, "HF_TOKEN", fault=lambda faults: setattr(faults, "gated", True)
    ),
    "nobody answers": Cause(LoadFailure.HUB_UNREACHABLE, "127.0.0.1", flags=("--hub-endpoint", "http://127.0.0.1:9")),
    "the Hub is out of order": Cause(
        LoadFailure.HUB_ERROR, "500", fault=lambda faults: faults.refuse(500, times=1000, retry_after="0")
    ),
    "a cache that cannot be written to": Cause(
        LoadFailure.DISK_FULL, "cannot be written", flags=("--hub-cache", "/dev/null/cache")
    ),
    "a file that arrives broken": Cause(
        LoadFailure.CHECKSUM_MISMATCH, UNET, fault=lambda faults: faults.corrupt.add(UNET)
    ),
    "offline and not in the cache": Cause(LoadFailure.WEIGHTS_NOT_CACHED, "offline", flags=("--hub-offline",)),
    "pickles": Cause(LoadFailure.UNSAFE_WEIGHTS, "pickle", "file://{folder}", damage=only_pickles),
    "pickles on the Hub": Cause(LoadFailure.UNSAFE_WEIGHTS, "pickle", damage=only_pickles),
    "half a file": Cause(
        LoadFailure.WEIGHTS_INVALID, "safetensors", "file://{folder}", damage=lambda folder: half(folder / UNET)
    ),
    "a tensor that is missing": Cause(
        LoadFailure.WEIGHTS_INVALID,
        "unet: tensors are missing",
        "file://{folder}",
        damage=lambda folder: a_tensor_less(folder / UNET),
    ),
    "larger than the budget": Cause(
        LoadFailure.EXCEEDS_MEMORY_BUDGET,
        "memory_budget_mib",
        "file://{folder}",
        flags=("--memory-budget-mib", "10"),
    ),
    "a device without room": Cause(
        LoadFailure.OUT_OF_MEMORY, "no memory", "file://{folder}", module="misbehaving.full_device_server"
    ),
    "no such device": Cause(LoadFailure.GPU_UNUSABLE, "mps", "file://{folder}", flags=("--device", "mps")),
    "a line that stands still": Cause(
        LoadFailure.LOAD_TIMEOUT,
        "longer than 3 s (fetching weights)",
        flags=("--load-timeout", "3"),
        fault=lambda faults: setattr(faults, "stall_at", 1000),
    ),
    "what nobody foresaw": Cause(
        LoadFailure.INTERNAL_ERROR, "ZeroDivisionError", "file://{folder}", module="misbehaving.surprising_server"
    ),
}


@contextmanager
def failing(cause: Cause, tmp_path: Path) -> Generator[ServerProcess]:
    """Start a server that has the model acme/broken, whose cause it is, and does not load it yet."""
    folder = shutil.copytree(WEIGHTS, tmp_path / "weights")
    cause.damage(folder)
    source = cause.source.format(folder=folder, repository="hf://acme/broken")
    identity = {"publisher": "t", "family": "f", "version": "1"}
    entries = [
        identity | {"id": "acme/broken", "source": source},
        identity | {"id": "good", "source": "builtin://shapes"},
    ]
    catalog = tmp_path / "models_info.json"
    catalog.write_text(json.dumps(entries))
    with ExitStack() as stack:
        hub = stack.enter_context(hub_server({"acme/broken": folder}))
        flags = ["--catalog", str(catalog), "--load", "acme/broken", "--default-model", "acme/broken"]
        places = ["--hub-endpoint", hub.url, "--hub-cache", str(tmp_path / "cache")]
        cause.fault(hub.faults)
        here = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        started = start_server(*flags, *places, *cause.flags, module=cause.module, environment=here)
        yield stack.enter_context(started)


def failures(server: ServerProcess) -> list[dict[str, Any]]:
    return [line for line in server.log if line["message"] == "model failed to load"]


def settled(server: ServerProcess) -> dict[str, Any] | None:
    """Return the model as /v1/models shows it, once it has a cause."""
    info = server.get("/v1/models/acme/broken").json()
    return info if info["error"] else None


@pytest.mark.acceptance
@pytest.mark.parametrize("name", CAUSES)
def test_a_cause_shows_in_the_reply_the_list_the_status_and_the_log(name: str, tmp_path: Path, show: Show) -> None:
    cause = CAUSES[name]
    passes = cause.reason in TRANSIENT
    with failing(cause, tmp_path) as server:
        wait_until(lambda: settled(server), 60, "the load to fail", every=0.05)
        info = settled(server) or {}
        (status,) = (model for model in server.status()["models"] if model["id"] == "acme/broken")
        reply = server.post(PICTURE | {"model": "acme/broken"})
        error = valid_error(reply.status_code, reply.headers, reply.content)
        ready = server.get("/readyz")
        table = imagegen(tmp_path, "models", "list", IMAGEGEN_URL=server.url).stdout
        wait_until(lambda: failures(server), 10, "the log to tell of it")
        logged = failures(server)[0]
    state = "loading" if passes else "failed"
    code = "model_loading" if passes else "model_failed"
    assert (info["state"], info["reason"], status["state"], status["reason"]) == (state, cause.reason) * 2
    assert (error.code, error.param, ready.status_code, logged["reason"]) == (code, "model", 503, cause.reason)
    assert ("retry-after" in reply.headers, "next_try_seconds" in logged) == (passes, passes)
    words = [info["error"], status["error"], error.message, logged["cause"], ready.text, " ".join(table.split())]
    assert [cause.words in place for place in words] == [True] * 6, words
    assert bool(server.stderr or any("exc_info" in line for line in server.log)) == (
        cause.reason is LoadFailure.INTERNAL_ERROR
    )
    show(f"4 {name}", f"{cause.reason}, {reply.status_code} {code}: {info['error'].replace(str(tmp_path), '...')[:90]}")


def test_every_reason_has_its_cause_here_and_its_row_in_the_docs() -> None:
    assert {cause.reason for cause in CAUSES.values()} == set(LoadFailure)
    rows = re.findall(r"^\| `([A-Z]\w+)` \| [^|]+ \| (yes|no) \| [^|]+ \|$", OPERATIONS.read_text(), re.MULTILINE)
    assert dict(rows) == {reason.value: "yes" if reason in TRANSIENT else "no" for reason in LoadFailure}
