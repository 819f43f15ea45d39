"""Weights that cannot be served: the model fails with the cause in words, everywhere that anybody may look."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imagegen_server.pipelines.loading import LoadError
from loaded_pipelines import denoise, generation, load_pipeline
from server_process import ServerProcess, start_server, wait_until

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT_ENCODER = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"

PICKLES = {
    TEXT_ENCODER: "text_encoder/pytorch_model.bin",
    UNET: "unet/diffusion_pytorch_model.bin",
    VAE: "vae/diffusion_pytorch_model.bin",
}
"""The weights' names in the old format."""

Damage = Callable[[Path], None]


def gone(name: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def content(name: str, text: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(text)

    return damage


def half(name: str) -> Damage:
    """Leave half of a file, as a broken download does."""

    def damage(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return damage


def edited(name: str, **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def pickled(folder: Path) -> None:
    """Leave only the weights' pickle, which can run code when it is opened."""
    for name, pickle in PICKLES.items():
        torch.save(load_file(folder / name), folder / pickle)
        (folder / name).unlink()


def flow_matching(folder: Path) -> None:
    """Give the pipeline the sampler of a model that predicts velocities along straight lines."""
    edited("model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])(folder)
    (folder / "scheduler" / "scheduler_config.json").write_bytes(b'{"_class_name": "FlowMatchEulerDiscreteScheduler"}')


def without_a_tensor(name: str) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / name)
        del tensors[min(tensors)]
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return damage


DAMAGED: dict[str, tuple[Damage, str]] = {
    "an unsupported pipeline": (
        edited("model_index.json", _class_name="FluxPipeline"),
        "pipeline class FluxPipeline is not supported; supported: StableDiffusionPipeline, StableDiffusionXLPipeline",
    ),
    "an index that names no pipeline": (content("model_index.json", b"{}"), "pipeline class None is not supported"),
    "an index that is no JSON": (content("model_index.json", b"{"), "model_index.json cannot be read: Expecting"),
    "an index that is no object": (content("model_index.json", b"[]"), "model_index.json cannot be read"),
    "an index without a component": (edited("model_index.json", vae=[None, None]), "the weights cannot be loaded: "),
    "a component of an unknown class": (
        edited("model_index.json", text_encoder=["transformers", "Nonsense"]),
        "text_encoder: class Nonsense is not supported",
    ),
    "a missing component": (gone("unet"), "the weights cannot be loaded: Error no file named config.json found"),
    "missing weights": (gone(TEXT_ENCODER), "text_encoder cannot be loaded: Error no file named model.safetensors"),
    "a missing tokenizer": (
        gone("tokenizer"),
        "tokenizer: has neither tokenizer.json nor vocab.json with merges.txt",
    ),
    "a configuration that is no JSON": (content("unet/config.json", b"{"), "is not a valid JSON file"),
    "only pickled weights": (
        pickled,
        "pytorch_model.bin is a pickle, which is never opened because it can run code; save the pipeline with",
    ),
    "half a UNet": (half(UNET), "the weights cannot be loaded: Unable to load weights from checkpoint file for"),
    "half a text encoder": (half(TEXT_ENCODER), "text_encoder cannot be loaded: Error while deserializing header"),
    "an empty VAE": (content(VAE, b""), "the weights cannot be loaded: Unable to load weights from checkpoint file"),
    "a UNet without one tensor": (
        without_a_tensor(UNET),
        "unet: tensors are missing from the weights: conv_in.bias",
    ),
    "a text encoder without one tensor": (
        without_a_tensor(TEXT_ENCODER),
        "text_encoder: tensors are missing from the weights: embeddings.position_embedding.weight",
    ),
    "a sampler of another kind of model": (
        flow_matching,
        "scheduler FlowMatchEulerDiscreteScheduler has no betas; the presets cannot be made from it",
    ),
    "a UNet of other shapes": (edited("unet/config.json", cross_attention_dim=48), "the weights cannot be loaded: "),
    "a distilled UNet that takes guidance as an input": (
        edited("unet/config.json", time_cond_proj_dim=32),
        "UNets that take the guidance scale as an embedding (LCM distillations) are not supported",
    ),
}


@pytest.mark.parametrize("case", list(DAMAGED))
def test_damaged_weights_are_refused_in_one_line(folders: Mapping[str, Path], tmp_path: Path, case: str) -> None:
    damage, words = DAMAGED[case]
    folder = tmp_path / "weights"
    shutil.copytree(folders["sd"], folder)
    damage(folder)
    with pytest.raises(LoadError) as refused:
        load_pipeline(folder)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


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


# A server whose models all fail, but one

FAILING = {
    "corrupt": ("file://{corrupt}", "text_encoder cannot be loaded: Error while deserializing header"),
    "unsupported": ("file://{unsupported}", "pipeline class FluxPipeline is not supported"),
    "no-such-folder": ("file:///no/such/folder", "file:///no/such/folder: there is no such folder"),
    "no-pipeline": ("file://{empty}", "has no model_index.json, so it is no diffusers pipeline"),
    "no-such-builtin": ("builtin://circles", "builtin://circles: there is no such model; allowed: builtin://shapes"),
    "no-such-scheme": ("pvc://claim/path", "this server cannot load from pvc://; it can from builtin://, file://"),
}


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
        wait_until(lambda: running.status()["state"] == "failed", 60, "the server to have tried them all", every=0.1)
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
