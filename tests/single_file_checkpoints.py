"""Single-file checkpoints of diffusers pipelines: all weights in one file, named as the original code names them.

The names are those of the CompVis (SD 1.x), Stability AI (SD 2.x) and generative-models (SDXL) code; people exchange
fine-tuned models in this form. The other way round than what the server does, and written without looking there.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
Layout = Literal["sd1", "sd2", "sdxl"]

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
}


def save_checkpoint(pipe: Any, file: Path, layout: Layout, **more: torch.Tensor) -> Path:
    """Write the weights of ``pipe`` as one file in the layout of a family, and ``more`` tensors beside them."""
    tensors = checkpoint(pipe, layout) | more
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def checkpoint(pipe: Any, layout: Layout) -> Tensors:
    """Return the tensors of the file."""
    return (
        _prefixed("model.diffusion_model.", _unet(pipe.unet))
        | _prefixed("first_stage_model.", _vae(pipe.vae))
        | _text_encoders(pipe, layout)
    )


def _text_encoders(pipe: Any, layout: Layout) -> Tensors:
    if layout == "sd1":
        return _prefixed("cond_stage_model.transformer.text_model.", _clip(pipe.text_encoder))
    if layout == "sd2":
        return _prefixed("cond_stage_model.model.", _open_clip(pipe.text_encoder))
    first = _prefixed("conditioner.embedders.0.transformer.text_model.", _clip(pipe.text_encoder))
    return first | _prefixed("conditioner.embedders.1.model.", _open_clip(pipe.text_encoder_2))


def _unet(unet: Any) -> Tensors:
    layers = unet.config.layers_per_block
    return {_unet_name(name, layers): tensor for name, tensor in unet.state_dict().items()}


def _unet_name(name: str, layers: int) -> str:
    """Return the original name: blocks are numbered through, each with its resnet first, then its attention."""
    if found := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name):
        way, block, kind, index, rest = found.groups()
        number = int(block) * (layers + 1) + int(index)
        place = f"input_blocks.{number + 1}" if way == "down" else f"output_blocks.{number}"
        return f"{place}.0.{_renamed(rest, _RESNET)}" if kind == "resnets" else f"{place}.1.{rest}"
    if found := re.fullmatch(r"down_blocks\.(\d+)\.downsamplers\.0\.conv\.(.+)", name):
        return f"input_blocks.{(int(found[1]) + 1) * (layers + 1)}.0.op.{found[2]}"
    if found := re.fullmatch(r"up_blocks\.(\d+)\.upsamplers\.0\.conv\.(.+)", name):
        # After the attention where the block has one; the tiny UNets have it in their last block only.
        return f"output_blocks.{(int(found[1]) + 1) * (layers + 1) - 1}.1.conv.{found[2]}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name):
        kind, index, rest = found.groups()
        return (
            f"middle_block.{2 * int(index)}.{_renamed(rest, _RESNET)}"
            if kind == "resnets"
            else f"middle_block.1.{rest}"
        )
    return _renamed(name, _UNET)


def _vae(vae: Any) -> Tensors:
    blocks = len(vae.config.up_block_types)
    return dict(_vae_tensor(name, tensor, blocks) for name, tensor in vae.state_dict().items())


def _vae_tensor(name: str, tensor: torch.Tensor, blocks: int) -> tuple[str, torch.Tensor]:
    """Return the original name and form: the decoder's blocks count down, attention is made of 1x1 convolutions."""
    if found := re.fullmatch(r"(en|de)coder\.mid_block\.attentions\.0\.(.+)", name):
        convolution = tensor[:, :, None, None] if tensor.ndim == 2 else tensor
        return f"{found[1]}coder.mid.attn_1.{_renamed(found[2], _VAE_ATTENTION)}", convolution
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up.{blocks - 1 - int(found[1])}", name)
    name = name.replace("down_blocks.", "down.").replace(".resnets.", ".block.")
    name = re.sub(r"(down|up)samplers\.0\.conv", r"\1sample.conv", name)
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut"), tensor


def _clip(encoder: Any) -> Tensors:
    return {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}


def _open_clip(encoder: Any) -> Tensors:
    """Return the tensors as OpenCLIP has them: queries, keys and values are one matrix, projections are transposed."""
    found, tensors = _clip(encoder), Tensors()
    for name, tensor in found.items():
        if name == "text_projection.weight":
            tensors["text_projection"] = tensor.T
        elif ".q_proj." in name:
            three = [found[name.replace(".q_proj.", f".{each}_proj.")] for each in "qkv"]
            joined = re.sub(r"self_attn\.q_proj\.(\w+)", r"attn.in_proj_\1", name)
            tensors[_renamed(joined, _OPEN_CLIP)] = torch.cat(three)
        elif ".k_proj." not in name and ".v_proj." not in name:
            tensors[_renamed(name, _OPEN_CLIP)] = tensor
    return tensors


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        name = name.replace(old, new)
    return name


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}
