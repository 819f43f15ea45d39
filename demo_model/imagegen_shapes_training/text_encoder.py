"""The text encoder: two layers of CLIP, 96 wide. 0.38 million parameters.

It is trained alone, to name what a caption asks for: linear heads read colours, shapes, background, size and position
from its hidden states. Learned through the denoiser, whose gradient says little about words, the colour of the object
was never understood. The denoiser sees all 77 hidden states, most of them padding, so the heads read the end of the
text, the last padding and one at random: every state then tells the whole scene.
"""

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from imagegen_shapes_training.captions import caption
from imagegen_shapes_training.compositions import COLOURS, NAMES, POSITIONS, SIZES, Composition, Mix, composition
from imagegen_shapes_training.optimiser import Optimiser
from imagegen_shapes_training.precision import mixed_precision
from imagegen_shapes_training.progress import Progress
from imagegen_shapes_training.recipe import TextRecipe
from imagegen_shapes_training.tokenizer import END_TOKEN, LENGTH, token_ids, tokenizer, unknown_words

WIDTH = 96

HEADS = {
    "background": len(COLOURS),
    "first colour": len(COLOURS) + 1,
    "first shape": len(NAMES) + 1,
    "second colour": len(COLOURS) + 1,
    "second shape": len(NAMES) + 1,
    "size": len(SIZES) + 1,
    "position": len(POSITIONS),
}
"""What is asked, and the number of answers; one more where "none" is an answer."""

_MIX = Mix(empty=0.01, pairs=0.12)
_AVERAGE = 0.98
_SEED = 12
_LONGEST_CAPTION = 30  # tokens: later states are padding in nearly every caption


class Reader(nn.Module):
    """The encoder and the heads that teach it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = CLIPTextModel(configuration())
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, answers) for name, answers in HEADS.items()})

    def answers(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Return the heads' logits; rows n, n + captions and n + 2 * captions are three readings of caption n."""
        ids = token_ids(captions)
        states = self.encoder(ids).last_hidden_state
        rows = torch.arange(len(ids))
        end = torch.eq(ids, END_TOKEN).int().argmax(1)
        anywhere = torch.randint(_LONGEST_CAPTION, LENGTH, (len(ids),))
        read = torch.cat([states[rows, end], states[:, -1], states[rows, anywhere]])
        return {name: head(read) for name, head in self.heads.items()}


def configuration(**changes: int) -> CLIPTextConfig:
    """Return the encoder's configuration with ``changes``."""
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LENGTH,
        "projection_dim": WIDTH,
        "hidden_act": "quick_gelu",
        "bos_token_id": END_TOKEN - 1,
        "eos_token_id": END_TOKEN,
        "pad_token_id": END_TOKEN,
        # Plain matrix products: the backward pass of the fused attention is several times slower on a CPU.
        "attn_implementation": "eager",
        **changes,
    }
    return CLIPTextConfig(**settings)


def train(recipe: TextRecipe, loss_below: float) -> tuple[CLIPTextModel, dict[str, float]]:
    """Train encoder and heads; return the encoder and the share of right answers of each head on new captions.

    Raises:
        StageFailedError: The loss did not come below ``loss_below``.
    """
    torch.manual_seed(_SEED)
    reader = Reader()
    optimiser = Optimiser(reader, recipe.schedule, _AVERAGE)
    progress = Progress("text encoder", recipe.schedule.steps)
    for step in range(recipe.schedule.steps):
        loss = _loss(reader, _batch("text", step, recipe.batch))
        optimiser.step(loss)
        progress.note(loss.item())
    progress.require_below(loss_below)
    return optimiser.average.encoder.eval(), _right(optimiser.average)


@torch.no_grad()
def hidden_states(encoder: CLIPTextModel, captions: Sequence[str]) -> Tensor:
    """Return what the denoiser attends to: shape (captions, 77, 96)."""
    return encoder(token_ids(captions)).last_hidden_state


def _batch(stream: str, step: int, count: int) -> list[tuple[Composition, str]]:
    """Return compositions and captions that no other step has."""
    lots = random.Random(f"captions {stream} {step}")
    compositions = [composition(stream, step * count + number, _MIX) for number in range(count)]
    return [(each, caption(each, unknown_words(), lots)) for each in compositions]


def _loss(reader: Reader, batch: Sequence[tuple[Composition, str]]) -> Tensor:
    wanted = _wanted([each for each, _ in batch])
    with mixed_precision():
        answers = reader.answers([said for _, said in batch])
    return torch.stack([functional.cross_entropy(answers[name].float(), wanted[name]) for name in HEADS]).mean()


@torch.no_grad()
def _right(reader: Reader) -> dict[str, float]:
    batch = _batch("text test", 0, 512)
    answers, wanted = reader.answers([said for _, said in batch]), _wanted([each for each, _ in batch])
    return {name: (answers[name].argmax(1) == wanted[name]).float().mean().item() for name in HEADS}


def _wanted(compositions: Sequence[Composition]) -> dict[str, Tensor]:
    """Return the right answers for three readings of each composition."""
    labels = [_label(each) for each in compositions]
    return {name: torch.tensor([label[name] for label in labels]).repeat(3) for name in HEADS}


def _label(asked: Composition) -> dict[str, int]:
    label = {
        "background": COLOURS.index(asked.background),
        "size": (None, *SIZES).index(asked.size),
        "position": list(POSITIONS).index(asked.position),
    }
    for number, which in enumerate(("first", "second")):
        figure = asked.figures[number] if number < len(asked.figures) else None
        label[f"{which} colour"] = COLOURS.index(figure.colour) if figure else len(COLOURS)
        label[f"{which} shape"] = NAMES.index(figure.shape) if figure else len(NAMES)
    return label
