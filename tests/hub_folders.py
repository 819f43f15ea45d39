"""Folders that look like the repositories of Stable Diffusion models, with noise for weights: a few hundred kB."""

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path

SD_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.2.2",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

CONFIGURATION = (
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
)
WEIGHTS = {
    "safety_checker": "model",
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
OTHERS = ("README.md", "v1-variants.jpg", "sd-v1-4.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors")
"""What no pipeline is loaded from."""

UNET = "unet/diffusion_pytorch_model.safetensors"


def write_repository(folder: Path, *, variants: tuple[str, ...] = ("", ".fp16"), unet_bytes: int = 400_000) -> Path:
    """Write a repository with all that CompVis/stable-diffusion-v1-4 has, in miniature; return its folder."""
    random_bytes = random.Random(1).randbytes
    put(folder / "model_index.json", json.dumps(SD_INDEX).encode())
    for path in CONFIGURATION:
        put(folder / path, json.dumps({"of": path}).encode())
    for component, stem in WEIGHTS.items():
        for variant in variants:
            size = (unet_bytes if component == "unet" else 20_000) // (2 if variant else 1)
            put(folder / component / f"{stem}{variant}.safetensors", random_bytes(size))
            put(folder / component / f"pytorch_model{variant}.bin", random_bytes(1000))
    for path in OTHERS:
        put(folder / path, random_bytes(1000))
    return folder


def put(place: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def checkpoint(tensors: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return a safetensors file that holds zeros of these shapes, in 8 bit."""
    header: dict[str, object] = {}
    end = 0
    for name, shape in tensors.items():
        size = 1
        for side in shape:
            size *= side
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)
