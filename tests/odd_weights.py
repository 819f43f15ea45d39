"""Weights that are whole and odd: what becomes of each. Nothing here is invented; all of it is published somewhere.

A model of such weights either fails to load, in words that name the component and what to do, or it makes a picture
with every sampler that it offers. It is never ready and unable.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

import tiny_pipelines
from damaged_weights import TEXT_ENCODER, UNET, VAE, Damage, edited, gone
from imagegen_contract.samplers import PRESETS, Preset

Kind = Literal["sd", "sdxl", "checked"]

SCHEDULER = "scheduler/scheduler_config.json"
TOKENIZER = "tokenizer/tokenizer_config.json"


@dataclass(frozen=True)
class Odd:
    """How weights of a kind are changed, and the outcome: ``words`` of the refusal, else the samplers not offered."""

    damage: Damage
    words: str = ""
    without: frozenset[Preset] = frozenset()
    kind: Kind = "sd"


def scheduler(class_name: str = "", **changes: Any) -> Damage:
    """Change the scheduler's class and configuration; a value of None leaves the key out."""

    def damage(folder: Path) -> None:
        path = folder / SCHEDULER
        config = json.loads(path.read_text()) | changes
        if class_name:
            config["_class_name"] = class_name
            edited("model_index.json", scheduler=["diffusers", class_name])(folder)
        path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))

    return damage


def only(*presets: Preset) -> frozenset[Preset]:
    """Return all presets but these."""
    return frozenset(PRESETS) - set(presets)


def without_keys(name: str, *keys: str) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        config = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in config.items() if key not in keys}))

    return damage


def component(name: str, part: Any, class_name: str = "") -> Damage:
    """Put another component in the place of one."""

    def damage(folder: Path) -> None:
        shutil.rmtree(folder / name)
        part().save_pretrained(folder / name)
        if class_name:
            library = "diffusers" if "Autoencoder" in class_name or "UNet" in class_name else "transformers"
            edited("model_index.json", **{name: [library, class_name]})(folder)

    return damage


def tensors(name: str, change: Any, metadata: dict[str, str] | None = None) -> Damage:
    """Change the tensors of a file; ``change`` gets and returns all of them by name."""

    def damage(folder: Path) -> None:
        save_file(change(load_file(folder / name)), folder / name, metadata={"format": "pt"} | (metadata or {}))

    return damage


def poisoned(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put a NaN into the tensor that everything goes through."""
    name = max(found, key=lambda each: ("conv_out" in each or "token_embedding" in each, found[each].ndim))
    return found | {name: torch.full_like(found[name], float("nan"))}


def as_it_is(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return found


def variant(name: str) -> Damage:
    """Leave weights of one variant only."""

    def damage(folder: Path) -> None:
        for file in (UNET, TEXT_ENCODER, VAE):
            (folder / file).rename((folder / file).with_suffix(f".{name}.safetensors"))

    return damage


def two_variants(folder: Path) -> None:
    """Leave two files of which nobody can tell which to take."""
    for name in ("first", "second"):
        shutil.copy(folder / VAE, (folder / VAE).with_suffix(f".{name}.safetensors"))
    (folder / VAE).unlink()


def _narrow() -> Any:
    return tiny_pipelines.text_encoder(16)


def _small_vocabulary() -> Any:
    return tiny_pipelines.text_encoder(32, vocab_size=100)


def _with_variance() -> Any:
    return tiny_pipelines.unet(cross_attention_dim=32, out_channels=8)


def _with_classes() -> Any:
    return tiny_pipelines.unet(cross_attention_dim=32, num_class_embeds=10)


def _with_pictures() -> Any:
    return tiny_pipelines.unet(cross_attention_dim=32, encoder_hid_dim=32, encoder_hid_dim_type="image_proj")


def _of_sd() -> Any:
    return tiny_pipelines.unet(cross_attention_dim=80)


def _wide_pooling() -> Any:
    return tiny_pipelines.unet(
        cross_attention_dim=80,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=64,
    )


def _without_projection() -> Any:
    return tiny_pipelines.text_encoder(48)


def _with_projection() -> Any:
    return tiny_pipelines.text_encoder(32, projected=True)


def _grey_vae() -> Any:
    return tiny_pipelines.vae(scaling_factor=0.18215, out_channels=1)


def _tiny_vae() -> Any:
    return tiny_pipelines.tiny_vae()


CONTINUOUS = {"prediction_type": "v_prediction", "timestep_type": "continuous"}

ODD: dict[str, Odd] = {
    # Tokenizers and text encoders
    "a tokenizer that does not say how long a text may be": Odd(without_keys(TOKENIZER, "model_max_length")),
    "a tokenizer that says 1e30": Odd(edited(TOKENIZER, model_max_length=10**30)),
    "a tokenizer for longer texts than the encoder reads": Odd(edited(TOKENIZER, model_max_length=512)),
    "a tokenizer for shorter texts than the encoder reads": Odd(edited(TOKENIZER, model_max_length=32)),
    "two tokenizers for texts of different lengths": Odd(
        edited("tokenizer_2/tokenizer_config.json", model_max_length=40), kind="sdxl"
    ),
    "a tokenizer without room for a word": Odd(
        edited(TOKENIZER, model_max_length=2), "tokenizer: a text of 2 tokens has no room for words"
    ),
    "a text encoder narrower than the UNet wants": Odd(
        component("text_encoder", _narrow), "text_encoder: gives text states 16 wide, and the UNet takes 32"
    ),
    "a text encoder that knows fewer words than the tokenizer": Odd(
        component("text_encoder", _small_vocabulary), "text_encoder: its tokenizer has ids up to 1535, and the encoder"
    ),
    "a text encoder with a projection that nobody uses": Odd(
        component("text_encoder", _with_projection, "CLIPTextModelWithProjection")
    ),
    "a second text encoder without a projection": Odd(
        component("text_encoder_2", _without_projection, "CLIPTextModel"),
        "text_encoder_2: is a text encoder without a projection",
        kind="sdxl",
    ),
    "only the second text encoder": Odd(
        edited("model_index.json", text_encoder=[None, None], tokenizer=[None, None]),
        "text_encoder_2: gives text states 48 wide, and the UNet takes 80",
        kind="sdxl",
    ),
    "a text encoder that computes NaN": Odd(tensors(TEXT_ENCODER, poisoned), "text_encoder: it computes values"),
    # UNets
    "a UNet without a size": Odd(edited("unet/config.json", sample_size=None)),
    "a UNet with two sides": Odd(edited("unet/config.json", sample_size=[8, 16])),
    "a UNet with a size of nothing": Odd(edited("unet/config.json", sample_size=0)),
    "a UNet that also predicts a variance": Odd(
        component("unet", _with_variance), "unet: the UNet gives 8 channels and the latents have 4"
    ),
    "a UNet that takes class labels": Odd(component("unet", _with_classes), "unet: UNets that take class labels"),
    "a UNet that takes pictures": Odd(component("unet", _with_pictures), "unet: encoder_hid_dim_type image_proj"),
    "a UNet of Stable Diffusion in SDXL": Odd(
        component("unet", _of_sd), "unet: addition_embed_type of its config.json is None", kind="sdxl"
    ),
    "a UNet for another pooled text": Odd(
        component("unet", _wide_pooling), "text_encoder_2: pooled text and sizes are 80 numbers", kind="sdxl"
    ),
    "a UNet that computes NaN": Odd(tensors(UNET, poisoned), "unet: it computes values that are no numbers"),
    "a UNet of other shapes than its configuration": Odd(
        edited("unet/config.json", cross_attention_dim=48),
        "is (16, 32) in the weights, and config.json wants (16, 48); take the whole folder from one model",
    ),
    "a text encoder of other shapes than its configuration": Odd(
        edited("text_encoder/config.json", intermediate_size=96),
        "in the weights, and config.json wants (96, 32); take the whole folder from one model",
    ),
    # VAEs
    "a tiny VAE": Odd(component("vae", _tiny_vae, "AutoencoderTiny")),
    "a VAE that makes grey pictures": Odd(
        component("vae", _grey_vae), "vae: it makes a picture of 64x64 with 1 channel"
    ),
    "a VAE without a scale": Odd(
        edited("vae/config.json", scaling_factor=None), "vae: scaling_factor of its config.json"
    ),
    "a VAE that computes NaN": Odd(tensors(VAE, poisoned), "vae: it computes values that are no numbers"),
    "a VAE with statistics of other channels": Odd(
        edited("vae/config.json", latents_mean=[0.0] * 3, latents_std=[1.0] * 3), "vae: latents cannot be decoded"
    ),
    # Safety checkers
    "a safety checker without what prepares its pictures": Odd(
        edited("model_index.json", feature_extractor=[None, None]),
        "feature_extractor: is missing, and the safety checker needs it",
        kind="checked",
    ),
    "a safety checker for pictures of another size": Odd(
        edited("feature_extractor/preprocessor_config.json", crop_size={"height": 48, "width": 48}),
        "safety_checker: it cannot be run",
        kind="checked",
    ),
    # Files
    "only bfloat16 files": Odd(variant("bf16")),
    "only files without averaging": Odd(variant("non_ema")),
    "only files of a variant of its own name": Odd(variant("best")),
    "two files of variants of their own names": Odd(
        two_variants, "vae: there is no diffusion_pytorch_model.safetensors in its folder; it has diffusion_pytorch_"
    ),
    "a UNet that says it predicts velocities": Odd(
        tensors(UNET, as_it_is, {"modelspec.prediction_type": "v"}),
        "unet: diffusion_pytorch_model.safetensors predicts velocities",
    ),
    "a UNet that says what the scheduler says": Odd(tensors(UNET, as_it_is, {"modelspec.prediction_type": "epsilon"})),
    # Schedulers
    "a UNet that predicts the picture": Odd(
        scheduler(prediction_type="sample"), without=frozenset({"euler_a", "pndm"})
    ),
    "a UNet that predicts velocities": Odd(scheduler(prediction_type="v_prediction")),
    "continuous timesteps": Odd(scheduler("EulerDiscreteScheduler", **CONTINUOUS), without=only("euler")),
    "continuous timesteps that change nothing": Odd(scheduler("EulerDiscreteScheduler", timestep_type="continuous")),
    "exponential noise levels": Odd(scheduler("DPMSolverMultistepScheduler", use_exponential_sigmas=True)),
    "two spacings of noise levels at once": Odd(
        scheduler("EulerDiscreteScheduler", use_exponential_sigmas=True, use_karras_sigmas=True)
    ),
    "noise levels that need scipy": Odd(scheduler("EulerDiscreteScheduler", use_beta_sigmas=True)),
    "a scheduler that needs scipy": Odd(scheduler("LMSDiscreteScheduler")),
    "a scheduler that needs torchsde": Odd(scheduler("DPMSolverSDEScheduler")),
    "a scheduler that diffusers does not have": Odd(scheduler("FancyNewScheduler")),
    "a scheduler that is none of the presets": Odd(scheduler("KDPM2DiscreteScheduler")),
    "a scheduler that draws noise": Odd(scheduler("DDPMScheduler")),
    "a solver that predicts variances, too": Odd(
        scheduler("DPMSolverMultistepScheduler", variance_type="learned_range")
    ),
    "an older solver": Odd(scheduler("DPMSolverMultistepScheduler", algorithm_type="dpmsolver")),
    "a solver of another kind": Odd(scheduler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++")),
    "log-SNR noise levels": Odd(scheduler("DPMSolverMultistepScheduler", use_lu_lambdas=True)),
    "Runge-Kutta steps before PNDM": Odd(scheduler(skip_prk_steps=False)),
    "zero terminal SNR": Odd(
        scheduler(
            "DDIMScheduler",
            rescale_betas_zero_snr=True,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
        )
    ),
    "zero terminal SNR of a UNet that predicts noise": Odd(
        scheduler("DDIMScheduler", rescale_betas_zero_snr=True), without=frozenset({"lcm"})
    ),
    "timesteps that begin below 0": Odd(
        scheduler("DDIMScheduler", steps_offset=-1, timestep_spacing="leading"),
        without=frozenset({"euler", "euler_a", "ddim", "pndm", "heun"}),
        kind="sdxl",
    ),
    "a tenth of the noise levels": Odd(scheduler("DDIMScheduler", num_train_timesteps=100)),
    "noise levels given one by one": Odd(scheduler("DDIMScheduler", trained_betas=[0.01] * 1000)),
    "a scheduler that says nothing of its noise levels": Odd(
        scheduler("DDIMScheduler", beta_start=None, beta_end=None, beta_schedule=None)
    ),
    "flow matching": Odd(
        scheduler("DPMSolverMultistepScheduler", use_flow_sigmas=True, prediction_type="flow_prediction"),
        "scheduler: prediction_type of scheduler_config.json is 'flow_prediction'; supported: epsilon, v_prediction",
    ),
    "flow matching in noise levels": Odd(
        scheduler("DPMSolverMultistepScheduler", use_flow_sigmas=True), "scheduler DPMSolverMultistepScheduler has no"
    ),
    "timesteps spaced in no known way": Odd(
        scheduler(timestep_spacing="cosine"), "scheduler: timestep_spacing of scheduler_config.json is 'cosine'"
    ),
    "noise levels of no known form": Odd(
        scheduler(beta_schedule="sigmoid"), "scheduler: beta_schedule of scheduler_config.json is 'sigmoid'"
    ),
    "a scheduler without a configuration": Odd(gone(SCHEDULER), "scheduler: scheduler_config.json is missing"),
}
