"""The tokenizer of the shipped model. It is frozen: 1536 entries, every word of the captions is one token.

Its merges for general English came from a body of text that is not kept, so it is copied and never made again.
"""

import random
import re
import string
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from imagegen_shapes import WEIGHTS
from imagegen_shapes_training.captions import said_words

FOLDER: Path = WEIGHTS / "tokenizer"

END_TOKEN = 1535
"""The last entry: it ends a caption and fills it up."""

LENGTH = 77
"""Tokens of every prompt: padded with the end token, cut when longer."""

_END_OF_WORD = "</w>"
_ENGLISH = re.compile("[a-z]{2,}")
_INVENTED = 600


@cache
def tokenizer() -> CLIPTokenizer:
    """Return the tokenizer, loaded once."""
    return CLIPTokenizer.from_pretrained(str(FOLDER))


def token_ids(captions: Sequence[str]) -> Tensor:
    """Return int64 of shape (captions, 77)."""
    encoded = tokenizer()(list(captions), padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(encoded["input_ids"])


@cache
def unknown_words() -> tuple[str, ...]:
    """Return words that no picture is about: the vocabulary's other words, and as many letters thrown together."""
    known = said_words()
    entries = (entry.removesuffix(_END_OF_WORD) for entry in tokenizer().get_vocab() if entry.endswith(_END_OF_WORD))
    words = sorted(word for word in entries if _ENGLISH.fullmatch(word) and word not in known)
    lots = random.Random("invented words")
    invented = ("".join(lots.choices(string.ascii_lowercase, k=lots.randint(3, 9))) for _ in range(_INVENTED))
    return (*words, *invented)
