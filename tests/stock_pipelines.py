"""The oracle for pictures: diffusers' own pipelines, called alone, in the test's process.

Nothing here comes from the server: samplers are set as a careful user of diffusers would, and prompts longer than the
text encoder's window, which diffusers cuts off, are encoded by a reference of their own.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    # DDIM and PNDM clip and warm up by default; what they are known for in these models is without.
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""What each preset of the API is in diffusers."""


@contextmanager
def quiet_and_small(threads: int = 1) -> Generator[None]:
    """Silence what loading a pipeline prints, and compute on ``threads`` cores: the server needs one too."""
    before = torch.get_num_threads(), diffusers.utils.logging.get_verbosity(), transformers.logging.get_verbosity()
    torch.set_num_threads(threads)
    for logging in (diffusers.utils.logging, transformers.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    yield
    torch.set_num_threads(before[0])
    diffusers.utils.logging.set_verbosity(before[1])
    transformers.logging.set_verbosity(before[2])


class StockPipeline:
    """A diffusers pipeline that paints like a request asks."""

    def __init__(self, folder: Path) -> None:
        """Load what the folder's index names."""
        self.pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
        self.pipe.set_progress_bar_config(disable=True)
        self._own = self.pipe.scheduler

    def windows(self, text: str) -> int:
        """Return how many windows of 75 tokens ``text`` takes."""
        return max(1, -(-len(_tokens(self.pipe.tokenizer, text)) // 75))

    def pictures(
        self,
        prompt: str,
        *,
        seeds: Sequence[int],
        size: str,
        steps: int,
        guidance: float,
        scheduler: str | None = None,
        negative: str | None = None,
    ) -> list[Pixels]:
        """Return one picture for each seed, uint8 of shape (height, width, 3); all of them in one call.

        Without ``scheduler`` the pipeline paints with its own.
        """
        width, height = (int(side) for side in size.split("x"))
        self.pipe.scheduler = self._scheduler(scheduler)
        images = self.pipe(
            **self._text(prompt, negative, guided=guidance > 1),
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            num_images_per_prompt=len(seeds),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
        return [np.asarray(image) for image in images]

    def _scheduler(self, preset: str | None) -> Any:
        class_name, overrides = SCHEDULERS[preset] if preset else (type(self._own).__name__, {})
        if class_name == type(self._own).__name__ and not overrides.get("use_karras_sigmas"):
            return self._own
        return getattr(diffusers, class_name).from_config(self._own.config, **overrides)

    def _text(self, prompt: str, negative: str | None, *, guided: bool) -> dict[str, Any]:
        """Return the pipeline's arguments for the prompts: the words themselves wherever diffusers takes them whole."""
        count = max(self.windows(text) for text in (prompt, negative or ""))
        if count == 1:
            return {"prompt": prompt, "negative_prompt": negative}
        with torch.no_grad():
            return self._embeddings(prompt, negative, count, guided=guided)

    def _embeddings(self, prompt: str, negative: str | None, count: int, *, guided: bool) -> dict[str, Any]:
        positive = self._encode(prompt, count)
        if not guided:
            return positive
        opposite = self._encode(negative or "", count)
        if negative is None and self.pipe.config.get("force_zeros_for_empty_prompt"):
            opposite = {name: torch.zeros_like(states) for name, states in opposite.items()}
        return positive | {f"negative_{name}": states for name, states in opposite.items()}

    def _encode(self, text: str, count: int) -> dict[str, torch.Tensor]:
        """Encode ``count`` windows one by one and join them; windows after the text are empty prompts."""
        pipe = self.pipe
        if not hasattr(pipe, "text_encoder_2"):
            windows = [pipe.text_encoder(ids)[0] for ids in _window_ids(pipe.tokenizer, text, count)]
            return {"prompt_embeds": torch.cat(windows, dim=1)}
        first = [pipe.text_encoder(ids, output_hidden_states=True) for ids in _window_ids(pipe.tokenizer, text, count)]
        second = [
            pipe.text_encoder_2(ids, output_hidden_states=True) for ids in _window_ids(pipe.tokenizer_2, text, count)
        ]
        # SDXL reads the layer before the last of both encoders, side by side, and the pooled text of the second.
        windows = [
            torch.cat([one.hidden_states[-2], other.hidden_states[-2]], dim=-1)
            for one, other in zip(first, second, strict=True)
        ]
        return {"prompt_embeds": torch.cat(windows, dim=1), "pooled_prompt_embeds": second[0].text_embeds}


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


def _window_ids(tokenizer: Any, text: str, count: int) -> list[torch.Tensor]:
    """Return ``count`` windows of 77 ids, each [1, 77]: begin, up to 75 tokens of the text, end, padding."""
    tokens, windows = _tokens(tokenizer, text), list[torch.Tensor]()
    for index in range(count):
        words = tokens[75 * index : 75 * (index + 1)]
        ids = [tokenizer.bos_token_id, *words, tokenizer.eos_token_id]
        windows.append(torch.tensor([ids + [tokenizer.pad_token_id] * (77 - len(ids))]))
    return windows
