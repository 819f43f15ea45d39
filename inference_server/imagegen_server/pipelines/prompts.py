"""Prompts to token windows and text encoder states.

A CLIP text encoder reads 77 positions: begin, 75 tokens of text, end. A longer prompt is cut into windows of 75
tokens, each encoded on its own with its begin and end, and the states are joined along the sequence.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import torch

MAX_WINDOWS = 4
_CACHED_PROMPTS = 64
"""Encoded prompts that are kept: 64 x 4 windows x 77 x 2048 halves are at most 80 MB for SDXL, usually 20."""


class Windows:
    """One tokenizer's view of prompts. Safe from any thread: it only reads."""

    def __init__(self, tokenizer: Any) -> None:
        """``tokenizer`` is a transformers CLIPTokenizer."""
        self._begin: int = tokenizer.bos_token_id
        self._end: int = tokenizer.eos_token_id
        self._pad: int = tokenizer.pad_token_id
        self.length: int = tokenizer.model_max_length
        self.text_length = self.length - 2
        # The Rust tokenizer without the Python object round it, whose calls set padding and truncation on a shared
        # state and so are not safe from two threads.
        self._rust = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        self._rust.no_truncation()
        self._rust.no_padding()

    def tokens(self, text: str) -> list[int]:
        """Return the ids of ``text`` without begin and end."""
        return list(self._rust.encode(text, add_special_tokens=False).ids)

    def windows(self, text: str, count: int) -> torch.Tensor:
        """Return ``count`` windows of ids, int64 [count, length]; those after the text are empty prompts."""
        tokens = self.tokens(text)
        rows = [
            tokens[start : start + self.text_length] for start in range(0, count * self.text_length, self.text_length)
        ]
        return torch.tensor([self._window(row) for row in rows])

    def count(self, text: str) -> int:
        """Return how many windows ``text`` takes, at least one."""
        return max(1, -(-len(self.tokens(text)) // self.text_length))

    def _window(self, tokens: list[int]) -> list[int]:
        padding = [self._pad] * (self.text_length - len(tokens))
        return [self._begin, *tokens, self._end, *padding]


class PromptCache:
    """The states of the prompts used last. Device thread only."""

    def __init__(self) -> None:
        self._states: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, encode: Callable[[], Any]) -> Any:
        """Return the states of ``key``, encoding them when they are not here."""
        if key not in self._states:
            self._states[key] = encode()
        self._states.move_to_end(key)
        if len(self._states) > _CACHED_PROMPTS:
            self._states.popitem(last=False)
        return self._states[key]
