"""``file://``: folders and single files on this machine, and what is said of paths that hold no model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from imagegen_contract.load_failures import LoadFailure
from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import SourceError, Wanted, Weights
from imagegen_server.sources.checkpoints import FetchConfig
from imagegen_server.sources.file import FileSource

CHECKPOINT = (
    "model.diffusion_model.out.2.bias",
    "first_stage_model.quant_conv.bias",
    "cond_stage_model.transformer.text_model.final_layer_norm.bias",
)


def nothing_fetched(progress: DownloadProgress) -> None:
    raise AssertionError(progress)


def no_hub(reference: str, revision: str) -> Path:
    raise AssertionError(f"{reference}@{revision} was fetched")


def fetch(path: Path, *, half: bool = True, config: str = "", fetch_config: FetchConfig = no_hub) -> Weights:
    wanted = Wanted(reference=str(path), half=half, config=config)
    return FileSource(fetch_config).fetch(wanted, nothing_fetched)


def pipeline(folder: Path, *files: str) -> Path:
    for name in ("model_index.json", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    return folder


def checkpoint(file: Path) -> Path:
    save_file({name: np.zeros(4, np.float16) for name in CHECKPOINT}, file)
    return file


PLAIN, HALF = "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"
SHARD = "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors"

VARIANTS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "both, half wanted": ((PLAIN, HALF), True, "fp16"),
    "both, half not wanted": ((PLAIN, HALF), False, ""),
    "only plain, half wanted": ((PLAIN,), True, ""),
    "only half, half not wanted": ((HALF,), False, "fp16"),
    "half in parts": ((SHARD,), True, "fp16"),
    "half of one component": ((HALF, "vae/diffusion_pytorch_model.safetensors"), True, "fp16"),
    "no weights": ((), True, ""),
}


@pytest.mark.parametrize("case", list(VARIANTS))
def test_a_folder_is_taken_in_the_variant_that_is_wanted_or_there(tmp_path: Path, case: str) -> None:
    files, half, variant = VARIANTS[case]
    folder = pipeline(tmp_path / "model", *files)
    assert fetch(folder, half=half) == Weights(path=folder, variant=variant)


def test_a_single_file_comes_with_its_configuration(tmp_path: Path) -> None:
    file, config = checkpoint(tmp_path / "model.safetensors"), pipeline(tmp_path / "config")
    assert fetch(file, config=f"file://{config}") == Weights(path=file, config=config)


def test_the_configuration_of_a_single_file_is_asked_of_the_hub(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def config_of(reference: str, revision: str) -> Path:
        asked.append((reference, revision))
        return tmp_path

    file = checkpoint(tmp_path / "model.safetensors")
    assert fetch(file, fetch_config=config_of) == Weights(path=file, config=tmp_path)
    assert asked == [("stable-diffusion-v1-5/stable-diffusion-v1-5", "")]


def with_checkpoint(folder: Path) -> Path:
    checkpoint(folder / "model.safetensors")
    return folder


def unreadable_index(folder: Path) -> Path:
    (folder / "model_index.json").mkdir()
    return folder


def written(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"content")
        return folder / name

    return make


REFUSED: dict[str, tuple[Callable[[Path], Path], str, LoadFailure]] = {
    "nothing there": (lambda folder: folder / "no", "there is no such folder or file", LoadFailure.WEIGHTS_NOT_FOUND),
    "an empty folder": (lambda folder: folder, "has no model_index.json", LoadFailure.WEIGHTS_NOT_FOUND),
    "the folder of a single file": (
        with_checkpoint,
        "a single-file checkpoint is given by its own path, as file://",
        LoadFailure.WEIGHTS_NOT_FOUND,
    ),
    "a pickle": (written("model.ckpt"), "is a pickle, which is never opened", LoadFailure.UNSAFE_WEIGHTS),
    "another file": (
        written("model.gguf"),
        "is neither a folder nor a .safetensors file",
        LoadFailure.WEIGHTS_INVALID,
    ),
    "an index that cannot be read": (
        unreadable_index,
        "model_index.json cannot be read: Is a directory",
        LoadFailure.WEIGHTS_NOT_FOUND,
    ),
    "a path that no machine can have": (
        lambda folder: folder / ("x" * 5000),
        "cannot be read: File name too long",
        LoadFailure.WEIGHTS_NOT_FOUND,
    ),
    "a broken file": (written("x.safetensors"), "x.safetensors is no safetensors file", LoadFailure.WEIGHTS_INVALID),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_path_without_a_model_is_refused_in_words(tmp_path: Path, case: str) -> None:
    make, words, reason = REFUSED[case]
    with pytest.raises(SourceError) as refused:
        fetch(make(tmp_path))
    assert words in str(refused.value)
    assert refused.value.reason == reason
