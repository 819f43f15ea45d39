"""What weights hold, told from their files before anything is loaded: components, their classes, their tensors.

Classes are taken from the lists here and nowhere else: an index of weights can name any class of any library, and
whoever follows it runs code of others.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.errors import LoadError
from imagegen_server.sources import VARIANTS
from imagegen_server.sources.safetensors_header import Header, HeaderError, Tensor, read_header

_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")
_CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "text_encoder": _ENCODERS,
    "text_encoder_2": _ENCODERS,
    "safety_checker": ("StableDiffusionSafetyChecker",),
    "tokenizer": _TOKENIZERS,
    "tokenizer_2": _TOKENIZERS,
    "feature_extractor": ("CLIPImageProcessor", "CLIPFeatureExtractor", "CLIPImageProcessorPil"),
}
"""Which classes each component may be of; a scheduler may be of any of diffusers' own."""

_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Where these classes are; the last is the part of diffusers that has the safety checker."""

_REQUIRED = {
    "StableDiffusionPipeline": ("unet", "vae", "text_encoder", "tokenizer", "scheduler"),
    "StableDiffusionXLPipeline": ("unet", "vae", "text_encoder_2", "tokenizer_2", "scheduler"),
}
"""The pipelines that are supported, and what each cannot do without."""

_OPTIONAL = {"StableDiffusionPipeline": (), "StableDiffusionXLPipeline": ("text_encoder", "tokenizer")}
"""What each may lack, and is then told that it lacks."""

_EXTRAS = ("tokenizer", "tokenizer_2", "feature_extractor")
"""The components that are files of text."""

_SWITCHES = ("force_zeros_for_empty_prompt", "requires_safety_checker")
"""What an index says besides components."""

_STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
    "safety_checker": "model",
}
"""The components that have weights, and how their files are called."""


class WeightsError(LoadError):
    """The weights cannot be used; the message says why."""

    def __init__(self, message: str, reason: LoadFailure = LoadFailure.WEIGHTS_INVALID) -> None:
        super().__init__(message, reason)


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One component with weights: its class, its tensors, and the variant of its files ("" is the plain one)."""

    name: str
    class_name: str
    tensors: tuple[Tensor, ...]
    variant: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to load: the diffusers class of the pipeline, its components, and what it gets besides.

    ``scheduler`` is that component's class, ``extras`` are the classes of the other ones without weights.
    """

    pipeline: str
    scheduler: str
    components: tuple[Component, ...]
    extras: dict[str, str]
    arguments: dict[str, Any]


def plan_folder(folder: Path, variant: str, *, safety_checker: bool) -> Plan:
    """Return what to load of a pipeline's folder; raise WeightsError for what is not whole, not safe, not supported.

    A component that has no files of ``variant`` is taken from those it has.
    """
    pipeline, classes = read_index(folder)
    checked = safety_checker and "safety_checker" in classes
    arguments = _switches(folder) | pipeline_arguments(pipeline, safety_checker=checked)
    check_tokenizers(folder, classes)
    used = {name: class_name for name, class_name in classes.items() if name in _STEMS and name not in arguments}
    components = [_component(folder / name, class_name, variant) for name, class_name in used.items()]
    if checked:
        _check_feature_extractor(folder, classes)
    return Plan(
        pipeline=pipeline,
        scheduler=classes["scheduler"],
        components=tuple(components),
        extras={name: class_name for name, class_name in classes.items() if name in _EXTRAS and name not in arguments},
        arguments={name: None for name in _OPTIONAL[pipeline] if name not in classes} | arguments,
    )


def pipeline_arguments(pipeline: str, *, safety_checker: bool) -> dict[str, Any]:
    """Return what a pipeline is made with besides its components; None leaves one out that its index may name."""
    if pipeline == "StableDiffusionXLPipeline":
        return {"add_watermarker": False, "image_encoder": None, "feature_extractor": None}
    if safety_checker:
        return {"image_encoder": None}
    unchecked = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None}
    return unchecked | {"image_encoder": None}


def read_index(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the pipeline's class and that of each of its components; raise WeightsError."""
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if isinstance(pipeline, list):
        raise _foreign_code(f"pipeline class {pipeline}")
    if pipeline not in list(_REQUIRED):
        raise WeightsError(f"pipeline class {pipeline} is not supported; supported: {', '.join(_REQUIRED)}")
    classes = dict(_classes(index))
    for name in _REQUIRED[pipeline]:
        if name not in classes:
            raise WeightsError(f"model_index.json names no {name}, which a {pipeline} needs")
    return pipeline, classes


def check_tokenizers(folder: Path, classes: Mapping[str, str]) -> None:
    """Raise WeightsError for a tokenizer without its files: it would be loaded, and know no word."""
    for name in classes:
        if not name.startswith("tokenizer"):
            continue
        there = [(folder / name / file).is_file() for file in ("tokenizer.json", "vocab.json", "merges.txt")]
        if not (there[0] or (there[1] and there[2])):
            raise WeightsError(f"{name}: has neither tokenizer.json nor vocab.json with merges.txt")


def _switches(folder: Path) -> dict[str, bool]:
    """Return what the index says besides components: how an absent negative prompt is meant, and the like."""
    index = read_json(folder / "model_index.json")
    return {name: index[name] for name in _SWITCHES if isinstance(index.get(name), bool)}


def _check_feature_extractor(folder: Path, classes: Mapping[str, str]) -> None:
    """Raise WeightsError when what prepares pictures for the safety checker is missing."""
    if "feature_extractor" not in classes or not (folder / "feature_extractor" / "preprocessor_config.json").is_file():
        raise WeightsError(
            "feature_extractor: is missing, and the safety checker needs it; add its folder and its line in "
            "model_index.json, or turn the checker off with inference.safetyChecker: false in the model's entry"
        )


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a configuration file holds; raise WeightsError."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file.name} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"{file.name} cannot be read: it holds no JSON object")
    return content


def _classes(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and class of each component, all of them known to be harmless."""
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry == [None, None]:
            continue
        if [type(part) for part in entry] != [str, str]:
            raise WeightsError(f"model_index.json: {name} is {entry}; it must be [library, class]")
        library, class_name = entry
        if library not in _LIBRARIES:
            raise _foreign_code(f"{name}: class {class_name} of {library}")
        if name in _CLASSES and class_name not in _CLASSES[name]:
            supported = ", ".join(_CLASSES[name])
            raise WeightsError(f"{name}: class {class_name} is not supported; supported: {supported}")
        if name == "scheduler" and not (library == "diffusers" and class_name.endswith("Scheduler")):
            raise WeightsError(f"{name}: {library}.{class_name} is no scheduler of diffusers")
        yield name, class_name


def named_tensors(folder: Path, variant: str) -> dict[str, Tensor]:
    """Return the tensors of the component in ``folder`` by name; raise WeightsError."""
    _, files = _files(folder, variant)
    return {name: tensor for file in files for name, tensor in _tensors(folder.name, file).items()}


def _component(folder: Path, class_name: str, variant: str) -> Component:
    used, files = _files(folder, variant)
    tensors = [tensor for file in files for tensor in _tensors(folder.name, file).values()]
    return Component(name=folder.name, class_name=class_name, tensors=tuple(tensors), variant=used)


def _files(folder: Path, variant: str) -> tuple[str, list[Path]]:
    """Return the variant of a component that there is, the wanted one first, and its files."""
    stem = _STEMS[folder.name]
    for each in dict.fromkeys((variant, "", *VARIANTS, *_lone_variant(folder, stem))):
        dotted = f".{each}" if each else ""
        single, shards = folder / f"{stem}{dotted}.safetensors", folder / f"{stem}.safetensors.index{dotted}.json"
        if single.is_file():
            return each, [single]
        if shards.is_file():
            return each, _shards(shards)
    _check_no_pickles(folder)
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    there = f"; it has {', '.join(others)}, and which of them to take is not clear" if others else ""
    raise WeightsError(
        f"{folder.name}: there is no {stem}.safetensors in its folder{there}; download the whole folder, or save the "
        "pipeline with safe_serialization=True"
    )


def _lone_variant(folder: Path, stem: str) -> list[str]:
    """Return the variant of a component's only file; what the variant is called does not matter then."""
    files = [path.name for path in folder.glob("*.safetensors")]
    found = re.fullmatch(rf"{stem}\.([^.]+)\.safetensors", files[0]) if len(files) == 1 else None
    return [found[1]] if found else []


def _shards(index: Path) -> list[Path]:
    """Return the files that the parts of a large component are in; none may be outside of its folder."""
    weight_map = read_json(index).get("weight_map")
    names = {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else set[str]()
    if not names or any(Path(name).name != name for name in names):
        raise WeightsError(f"{index.parent.name}: the weight_map of {index.name} names no files of its folder")
    files = [index.parent / name for name in sorted(names)]
    if missing := [file.name for file in files if not file.is_file()]:
        raise WeightsError(f"{index.parent.name}: {missing[0]} is missing, one of {len(files)} files of its weights")
    return files


def _tensors(component: str, file: Path) -> Header:
    try:
        return read_header(file)
    except HeaderError as error:
        raise WeightsError(f"{component}: {file.name} {error}") from None
    except OSError as error:
        raise WeightsError(f"{component}: {file.name} cannot be read: {error.strerror}") from None


def _check_no_pickles(folder: Path) -> None:
    pickles = sorted(path.name for kind in ("*.bin", "*.ckpt", "*.pt", "*.pth") for path in folder.glob(kind))
    if pickles:
        raise WeightsError(
            f"{folder.name}: {pickles[0]} is a pickle, which is never opened because it can run code; "
            "save the pipeline with safe_serialization=True",
            LoadFailure.UNSAFE_WEIGHTS,
        )


def _foreign_code(what: str) -> WeightsError:
    message = f"{what} is code of its own, which is never run; supported: {', '.join(_REQUIRED)}"
    return WeightsError(message, LoadFailure.UNSAFE_WEIGHTS)
