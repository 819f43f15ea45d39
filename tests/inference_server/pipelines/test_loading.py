"""Weights that cannot be served: the model fails with the cause in words, everywhere that anybody may look."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from damaged_weights import DAMAGED, PICKLES, UNSAFE, VAE, Damage, gone
from imagegen_contract.load_failures import TRANSIENT, LoadFailure
from imagegen_server.errors import LoadError
from imagegen_server.pipelines.library_errors import load_errors
from imagegen_server.sources import Weights
from loaded_pipelines import cpu_loader, denoise, generation, load_pipeline, model_spec
from server_process import ServerProcess, start_server, wait_until


def weighed(folder: Path) -> int | LoadError:
    try:
        return cpu_loader().weigh(Weights(path=folder), model_spec())
    except LoadError as error:
        return error


def refusal(whole: Path, folder: Path, damage: Damage) -> LoadError:
    """Return what is said of damaged weights: the same before they are read, where their files show the damage."""
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises(LoadError) as refused:
        load_pipeline(folder)
    if isinstance(before := weighed(folder), LoadError):
        assert (str(before), before.reason) == (str(refused.value), refused.value.reason)
    return refused.value


@pytest.mark.parametrize("case", list(DAMAGED))
def test_damaged_weights_are_refused_in_one_line(folders: Mapping[str, Path], tmp_path: Path, case: str) -> None:
    damage, words = DAMAGED[case]
    refused = refusal(folders["sd"], tmp_path / "weights", damage)
    assert words in str(refused)
    assert "\n" not in str(refused)
    assert refused.reason == LoadFailure.WEIGHTS_INVALID


@pytest.mark.parametrize("case", list(UNSAFE))
def test_code_of_others_is_refused_and_never_run(folders: Mapping[str, Path], tmp_path: Path, case: str) -> None:
    damage, words = UNSAFE[case]
    ran = tmp_path / "ran"

    def trapped(folder: Path) -> None:
        damage(folder)
        code = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nclass Trap: pass\n"
        for place in (folder, folder / "unet"):
            (place / "trap.py").write_text(code)

    refused = refusal(folders["sd"], tmp_path / "weights", trapped)
    assert words in str(refused)
    assert refused.reason == LoadFailure.UNSAFE_WEIGHTS
    assert not ran.exists()


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_undamaged_weights_are_loaded(folders: Mapping[str, Path], kind: str) -> None:
    assert load_pipeline(folders[kind]).count_tokens("a red circle") == 3


def test_a_pickle_is_never_opened(folders: Mapping[str, Path], tmp_path: Path) -> None:
    """Not even where it lies beside whole weights."""
    folder = tmp_path / "weights"
    shutil.copytree(folders["sd"], folder)
    for pickle in PICKLES.values():
        (folder / pickle).write_bytes(b"no pickle: opening it would fail")
    assert load_pipeline(folder).count_tokens("a red circle") == 3


def renamed(path: Path, rename: Callable[[str], str], **more: torch.Tensor) -> None:
    tensors = {rename(name): tensor for name, tensor in load_file(path).items()}
    save_file(tensors | more, path, metadata={"format": "pt"})


def older_name(name: str) -> str:
    """Return what the attention weights of a VAE were called when Stable Diffusion 1.4 was published."""
    if "attentions" not in name:
        return name
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        name = name.replace(new, old)
    return name


def prefixed(name: str) -> str:
    """Return what the weights of a text encoder are called in most published models."""
    return name if name.startswith(("text_model.", "text_projection.")) else f"text_model.{name}"


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_weights_with_the_names_of_older_releases_are_whole(
    folders: Mapping[str, Path], pipelines: Mapping[str, Any], tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(folders[kind], folder)
    renamed(folder / VAE, older_name)
    for path in folder.glob("text_encoder*/model.safetensors"):
        renamed(path, prefixed, **{"text_model.embeddings.position_ids": torch.arange(77)[None]})
    pictures: list[Any] = []
    for pipeline in (load_pipeline(folder), pipelines[kind]):
        rows = pipeline.admit(generation())
        denoise(pipeline, rows)
        pictures.append(pipeline.picture(rows[0]).astype(int))
    assert abs(pictures[0] - pictures[1]).max() <= 1


# No fault of the weights


def no_python_memory() -> None:
    raise MemoryError


def no_mapping() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory", "model.safetensors")


def no_tensor() -> None:
    torch.empty(2**55, dtype=torch.uint8)


@pytest.mark.parametrize("fail", [no_python_memory, no_mapping, no_tensor])
def test_a_machine_without_memory_is_no_fault_of_the_weights(fail: Callable[[], None]) -> None:
    """It may pass, so the load is tried again; broken weights stay broken."""
    words = "unet cannot be loaded: this machine has no memory for it"
    with pytest.raises(LoadError, match=words) as refused, load_errors("unet"):
        fail()
    assert refused.value.reason == LoadFailure.OUT_OF_MEMORY
    assert refused.value.reason in TRANSIENT


# A server whose models all fail, but one

FAILING = {
    "corrupt": ("file://{corrupt}", "text_encoder: model.safetensors is cut off: it has "),
    "unsupported": ("file://{unsupported}", "pipeline class FluxPipeline is not supported"),
    "no-such-folder": ("file:///no/such/folder", "file:///no/such/folder: there is no such folder"),
    "no-pipeline": ("file://{empty}", "has no model_index.json, so it is no diffusers pipeline"),
    "no-such-builtin": ("builtin://circles", "builtin://circles: there is no such model; allowed: builtin://shapes"),
    "no-such-scheme": ("pvc://claim/path", "this server cannot load from pvc://; it can from builtin://, file://"),
}


def tried(running: ServerProcess) -> set[str]:
    return {each["id"] for each in running.status()["models"] if each["state"] in {"failed", "ready"}}


@pytest.fixture(scope="module")
def failing(folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that tried to load every model of FAILING, and ``good`` after them."""
    made = tmp_path_factory.mktemp("failing")
    damaged = {
        "corrupt": DAMAGED["half a text encoder"][0],
        "unsupported": DAMAGED["an unsupported pipeline"][0],
        "empty": gone("model_index.json"),
    }
    for name, damage in damaged.items():
        shutil.copytree(folders["sd"], made / name)
        damage(made / name)
    places = {name: str(made / name) for name in damaged}
    sources = {name: source.format(**places) for name, (source, _) in FAILING.items()}
    sources["good"] = f"file://{folders['sd']}"
    identity = {"publisher": "test", "family": "test", "version": "1"}
    catalog = made / "models.json"
    catalog.write_text(json.dumps([identity | {"id": name, "source": source} for name, source in sources.items()]))
    flags = ("--catalog", str(catalog), "--load", ",".join(sources), "--default-model", "good", "--cpu-threads", "1")
    with start_server(*flags) as running:
        wait_until(lambda: tried(running) == set(sources), 60, "the server to have tried them all", every=0.1)
        yield running


@pytest.mark.parametrize("model", list(FAILING))
def test_a_model_that_cannot_be_loaded_says_why_wherever_one_looks(failing: ServerProcess, model: str) -> None:
    words = FAILING[model][1]
    listed = failing.get(f"/v1/models/{model}").json()
    (status,) = [each for each in failing.status()["models"] if each["id"] == model]
    (logged,) = [line for line in failing.log if line.get("model") == model and line["level"] == "ERROR"]
    refused = failing.post({"model": model, "prompt": "a red circle"})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (503, "model_failed", "model")
    assert refused.headers["x-should-retry"] == "false"
    assert (listed["state"], status["state"]) == ("failed", "failed")
    places = [listed["error"], status["error"], logged["cause"], error["message"], failing.get("/readyz").text]
    assert [words in place for place in places] == [True] * 5, places


def test_a_server_with_a_failed_model_is_alive_and_not_ready(failing: ServerProcess) -> None:
    assert failing.get("/healthz").status_code == 200
    ready = failing.get("/readyz")
    assert (ready.status_code, ready.json()["error"]["code"]) == (503, "model_failed")
    assert failing.status()["state"] == "failed"
    assert failing.stderr == [], "no traceback"


def test_a_model_beside_failed_ones_is_loaded_and_serves(failing: ServerProcess) -> None:
    reply = failing.post({"model": "good", "prompt": "a red circle", "num_inference_steps": 1, "size": "64x64"})
    assert reply.status_code == 200
    assert failing.get("/v1/models/good").json()["state"] == "ready"
