"""Prompts to token windows and text encoder states.

A CLIP text encoder reads 77 positions: begin, 75 tokens of text, end. A longer prompt is cut into windows of 75
tokens, each encoded on its own with its begin and end, and the states are joined along the sequence.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch

from imagegen_server.pipelines.components import WeightsError

MAX_WINDOWS = 4
_CACHED_PROMPTS = 64
"""Encoded prompts that are kept: 64 x 4 windows x 77 x 2048 halves are at most 80 MB for SDXL, usually 20."""


class Windows:
    """One tokenizer's view of prompts. Safe from any thread: it only reads."""

    def __init__(self, tokenizer: Any, positions: int) -> None:
        """``tokenizer`` is a transformers CLIPTokenizer, ``positions`` is how many ids its text encoder reads at once.

        A tokenizer that does not say how long a text may be (it then says 1e30) leaves that to the encoder. Raises
        WeightsError for one that cannot make a window.
        """
        self._begin, self._end, self._pad = _special_tokens(tokenizer)
        self.length: int = min(tokenizer.model_max_length, positions)
        self.text_length = self.length - 2
        if self.text_length < 1:
            raise WeightsError(
                f"tokenizer: a text of {self.length} tokens has no room for words between its begin and end; set "
                "model_max_length in tokenizer_config.json (77 for CLIP)"
            )
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


def shared_length(readers: Iterable[tuple[Any, Any]]) -> int:
    """Return the window that all (tokenizer, text encoder) pairs can read: their states are joined side by side."""
    return min(
        min(tokenizer.model_max_length, encoder.config.max_position_embeddings) for tokenizer, encoder in readers
    )


def _special_tokens(tokenizer: Any) -> tuple[int, int, int]:
    """Return the ids of begin, end and padding; raise WeightsError for a tokenizer without one of them."""
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if not all(isinstance(each, int) for each in ids):
        raise WeightsError(
            "tokenizer: has no token for begin, end or padding; take the tokenizer folder of the model that these "
            "weights were made from (bos_token, eos_token and pad_token in tokenizer_config.json)"
        )
    return ids


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
