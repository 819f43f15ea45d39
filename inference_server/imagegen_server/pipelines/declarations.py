"""What a file of weights says of itself, compared with the scheduler's configuration.

A UNet that predicts velocities, sampled as if it predicted noise, paints noise, and nothing fails. Files say what they
are in names of empty tensors and in their metadata; a contradiction is a refusal.
"""

from collections.abc import Mapping
from pathlib import Path

from imagegen_server.pipelines.components import WeightsError
from imagegen_server.pipelines.own_scheduler import scheduler_config
from imagegen_server.sources.safetensors_header import HeaderError, read_header, read_metadata

_VELOCITY = "v_prediction"
_NOISE = "epsilon"

_PREDICTIONS = {
    "v": _VELOCITY,
    "v_prediction": _VELOCITY,
    "v-prediction": _VELOCITY,
    "vpred": _VELOCITY,
    "v_pred": _VELOCITY,
    "velocity": _VELOCITY,
    "epsilon": _NOISE,
    "eps": _NOISE,
    "noise": _NOISE,
    "sample": "sample",
    "x0": "sample",
}
"""What people write for each value of a scheduler's ``prediction_type``."""

_ARCHITECTURES = {"stable-diffusion-v2-768-v": _VELOCITY, "stable-diffusion-v2-512": _NOISE}
"""The architectures of the model metadata specification (``modelspec.architecture``) that imply a prediction."""

_VELOCITY_TENSOR = "v_pred"
_ZERO_TERMINAL_TENSOR = "ztsnr"
_FOREIGN_TENSORS = ("edm_mean", "edm_std", "edm_vpred.")
"""How names begin by which a file says that it was trained with the noise levels of EDM, which have no betas."""


_WORDS = {_VELOCITY: "velocities", _NOISE: "noise", "sample": "pictures"}


def check_folder(folder: Path) -> None:
    """Raise WeightsError when a UNet in the folder of a pipeline contradicts the scheduler beside it."""
    for file in sorted((folder / "unet").glob("*.safetensors")):
        check_file(file, folder, f"unet: {file.name}")


def check_file(file: Path, config: Path, name: str) -> None:
    """Raise WeightsError when a file, called ``name``, contradicts the scheduler in the folder ``config``."""
    try:
        tensors, metadata = frozenset(read_header(file)), read_metadata(file)
    except (HeaderError, OSError):
        return  # what is broken of the files that are read is told elsewhere; the others do not matter
    scheduler = scheduler_config(config)
    configured = str(scheduler.get("prediction_type", _NOISE))
    for prediction, how in (*_said_by_tensors(tensors), *_said_by_metadata(metadata)):
        if prediction != configured:
            raise WeightsError(
                f"{name} predicts {_WORDS[prediction]} ({how}), and the scheduler of its configuration is for "
                f"{_WORDS.get(configured, configured)}; {_needs(f'prediction_type {prediction}')}"
            )
    if foreign := sorted(tensor for tensor in tensors if tensor.startswith(_FOREIGN_TENSORS)):
        raise WeightsError(
            f"{name} was trained with the noise levels of EDM (it has a tensor {foreign[0]}), which are not supported; "
            "use a model trained with those of Stable Diffusion"
        )
    if _ZERO_TERMINAL_TENSOR in tensors and not scheduler.get("rescale_betas_zero_snr"):
        raise WeightsError(
            f"{name} was trained to zero terminal SNR (it has a tensor {_ZERO_TERMINAL_TENSOR}), and the scheduler of "
            f"its configuration is not for that; {_needs('rescale_betas_zero_snr true')}"
        )


def _needs(what: str) -> str:
    return (
        f"its scheduler_config.json must have {what} (the one of a single file is in what field config of the model's "
        "entry names)"
    )


def _said_by_tensors(tensors: frozenset[str]) -> list[tuple[str, str]]:
    """Return (prediction, how it is said)."""
    return [(_VELOCITY, f"it has a tensor {_VELOCITY_TENSOR}")] if _VELOCITY_TENSOR in tensors else []


def _said_by_metadata(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    tables = {"modelspec.prediction_type": _PREDICTIONS, "modelspec.architecture": _ARCHITECTURES}
    values = {key: metadata.get(key, "").strip().lower() for key in tables}
    return [
        (tables[key][value], f"its metadata say {key} {value}") for key, value in values.items() if value in tables[key]
    ]
