"""Number formats of the training: bfloat16 where the processor computes with it, float32 elsewhere."""

import torch


def mixed_precision() -> torch.autocast:
    """Return the context of a forward pass.

    Processors without AVX-512 convert each number of a bfloat16 convolution on its own: it takes 30 times as long as in
    float32 there, and half as long on others.
    """
    native: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType, reportUnknownMemberType, reportAttributeAccessIssue]  # noqa: SLF001 - what torch's own tests ask
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=native)
