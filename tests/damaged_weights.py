"""Weights that cannot be served: ways to damage a whole pipeline of the SD kind, and what is said of each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

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


def inpainting(folder: Path) -> None:
    """Give the UNet five channels more, as for a masked picture and its mask."""
    edited("unet/config.json", in_channels=9)(folder)
    tensors = load_file(folder / UNET)
    tensors["conv_in.weight"] = torch.zeros(16, 9, 3, 3)
    save_file(tensors, folder / UNET, metadata={"format": "pt"})


def distilled(folder: Path) -> None:
    """Give the UNet one more input, for the guidance scale."""
    edited("unet/config.json", time_cond_proj_dim=32)(folder)
    more = {"time_embedding.cond_proj.weight": torch.zeros(16, 32)}
    save_file(load_file(folder / UNET) | more, folder / UNET, metadata={"format": "pt"})


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
    "an index that is no object": (content("model_index.json", b"[]"), "model_index.json cannot be read: it holds no"),
    "an index without a component": (
        edited("model_index.json", vae=[None, None]),
        "model_index.json names no vae, which a StableDiffusionPipeline needs",
    ),
    "an index with half an entry": (
        edited("model_index.json", vae=["diffusers"]),
        "model_index.json: vae is ['diffusers']; it must be [library, class]",
    ),
    "a component of an unknown class": (
        edited("model_index.json", text_encoder=["transformers", "Nonsense"]),
        "text_encoder: class Nonsense is not supported; supported: CLIPTextModel, CLIPTextModelWithProjection",
    ),
    "a scheduler that is none": (
        edited("model_index.json", scheduler=["transformers", "CLIPTextModel"]),
        "scheduler: transformers.CLIPTextModel is no scheduler of diffusers",
    ),
    "a missing component": (gone("unet"), "unet: there is no diffusion_pytorch_model.safetensors in its folder"),
    "a missing configuration": (gone("unet/config.json"), "unet cannot be loaded: Error no file named config.json"),
    "missing weights": (gone(TEXT_ENCODER), "text_encoder: there is no model.safetensors in its folder"),
    "a missing tokenizer": (
        gone("tokenizer"),
        "tokenizer: has neither tokenizer.json nor vocab.json with merges.txt",
    ),
    "a configuration that is no JSON": (content("unet/config.json", b"{"), "is not a valid JSON file"),
    "half a UNet": (half(UNET), "unet: diffusion_pytorch_model.safetensors is cut off: it has "),
    "half a text encoder": (half(TEXT_ENCODER), "text_encoder: model.safetensors is cut off: it has "),
    "an empty VAE": (content(VAE, b""), "vae: diffusion_pytorch_model.safetensors is empty"),
    "a web page for a VAE": (content(VAE, b"<!DOCTYPE html><html>"), "safetensors is no safetensors file"),
    "what Git LFS leaves where it was not set up": (
        content(VAE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "vae: diffusion_pytorch_model.safetensors is a Git LFS pointer, not the file itself",
    ),
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
    "a UNet of other shapes": (
        edited("unet/config.json", cross_attention_dim=48),
        "in the weights, and config.json wants (16, 48)",
    ),
    "a distilled UNet that takes guidance as an input": (
        distilled,
        "UNets that take the guidance scale as an embedding (LCM distillations) are not supported",
    ),
    "a UNet for inpainting": (inpainting, "the UNet takes 9 channels and the latents have 4"),
}

UNSAFE: dict[str, tuple[Damage, str]] = {
    "only pickled weights": (
        pickled,
        "pytorch_model.bin is a pickle, which is never opened because it can run code; save the pipeline with",
    ),
    "a pipeline class of its own": (
        edited("model_index.json", _class_name=["trap", "Trap"]),
        "pipeline class ['trap', 'Trap'] is code of its own, which is never run",
    ),
    "a component class of its own": (
        edited("model_index.json", unet=["trap", "Trap"]),
        "unet: class Trap of trap is code of its own, which is never run",
    ),
    "a component of any library": (
        edited("model_index.json", unet=["os", "system"]),
        "unet: class system of os is code of its own, which is never run",
    ),
    "one more component of its own": (
        edited("model_index.json", extra=["trap", "Trap"]),
        "extra: class Trap of trap is code of its own, which is never run",
    ),
}
