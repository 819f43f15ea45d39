"""Prompts to windows of tokens, and the memory of prompts that were encoded."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen_server.pipelines.prompts import PromptCache, Windows
from imagegen_shapes import WEIGHTS
from loaded_pipelines import denoised, generation, load_pipeline, relative_error
from server_process import ServerProcess

BEGIN, END = 1534, 1535
"""The tokenizer's marks; it pads with the end."""


def words(count: int) -> str:
    """Return a text of ``count`` tokens."""
    return " ".join(["red"] * count)


def tokenizer(**options: str) -> Any:
    library: Any = transformers
    return library.CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", **options)


@pytest.fixture(scope="module")
def stock() -> Any:
    """Return the tokenizer as the library has it."""
    return tokenizer()


@pytest.fixture(scope="module")
def windows(stock: Any) -> Windows:
    return Windows(stock, 77)


# Windows


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(0, 1), (1, 1), (75, 1), (76, 2), (150, 2), (151, 3), (225, 3), (226, 4), (300, 4), (301, 5)],
)
def test_a_window_holds_75_tokens(windows: Windows, tokens: int, expected: int) -> None:
    text = words(tokens)
    assert len(windows.tokens(text)) == tokens
    assert windows.count(text) == expected


@pytest.mark.parametrize("tokens", [0, 1, 74, 75, 76, 149, 150, 151, 299, 300])
def test_windows_hold_every_token_once_and_in_order(windows: Windows, tokens: int) -> None:
    text = " ".join(["red", "blue", "moon"][number % 3] for number in range(tokens))
    ids = windows.windows(text, windows.count(text))
    assert ids.shape == (windows.count(text), 77)
    assert [token for row in ids.tolist() for token in row if token not in (BEGIN, END)] == windows.tokens(text)
    assert len(windows.tokens(text)) == tokens
    assert all(row[0] == BEGIN and END in row for row in ids.tolist()), "each window has its begin and end"


def test_windows_after_the_text_are_those_of_an_empty_prompt(windows: Windows) -> None:
    empty = windows.windows("", 1)
    filled = windows.windows(words(76), 4)
    assert torch.equal(filled[:2], windows.windows(words(76), 2))
    assert torch.equal(filled[2:], empty.expand(2, -1))


@pytest.mark.parametrize("pad", ["<|endoftext|>", "!"])
@pytest.mark.parametrize(
    "text",
    ["", "a red circle", words(75), "A RED  Circle,\n on\tblue!", "é ü 漢字 🎨", "<|endoftext|> red", "!!!", "  red "],
)
def test_one_window_is_what_the_tokenizer_itself_makes(text: str, pad: str) -> None:
    stock = tokenizer(pad_token=pad)
    expected = stock(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(Windows(stock, 77).windows(text, 1), expected)


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=200))
def test_any_text_has_the_tokens_that_the_tokenizer_itself_finds(windows: Windows, stock: Any, text: str) -> None:
    assert windows.tokens(text) == stock(text, add_special_tokens=False).input_ids


def test_the_library_s_tokenizer_is_left_as_it_was(stock: Any) -> None:
    before = stock.backend_tokenizer.to_str()
    Windows(stock, 77).windows(words(200), 4)
    assert stock.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_of_four_windows_is_the_longest_that_a_server_takes(server: ServerProcess, field: str) -> None:
    body = {"prompt": "a red circle", "size": "64x64", "num_inference_steps": 1, "seed": 1}
    assert server.post(body | {field: words(300)}).status_code == 200
    refused = server.post(body | {field: words(301)})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "prompt_too_long", field)
    assert "301" in error["message"]
    assert "300" in error["message"]


# Threads


@pytest.mark.parametrize("name", ["embedded", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_tokens_are_counted_from_eight_threads_while_the_device_thread_encodes(
    pipelines: Mapping[str, Any], folders: Mapping[str, Path], name: str
) -> None:
    pipeline = load_pipeline(folders[name])
    texts = [words(count) + " moon" * (count % 7) for count in range(1, 200)]
    expected = [pipelines[name].count_tokens(text) for text in texts]
    requests = [generation(prompt=f"{index} {text}") for index, text in enumerate(texts[:40])]
    alone = [pipelines[name].admit(request)[0].prompt.states for request in requests]
    start = threading.Barrier(9)

    def count() -> list[list[int]]:
        start.wait()
        return [[pipeline.count_tokens(text) for text in texts] for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        counting = [threads.submit(count) for _ in range(8)]
        start.wait()
        together = [pipeline.admit(request)[0].prompt.states for request in requests]
        counts = [each for future in counting for each in future.result()]
    assert all(each == expected for each in counts)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


# The memory of prompts


class Encoder:
    """Encodes a key to itself and notes how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def get(self, cache: PromptCache, key: int) -> Any:
        """Look ``key`` up."""
        return cache.get(key, lambda: self._encode(key))

    def _encode(self, key: int) -> int:
        self.asked.append(key)
        return key


def test_a_prompt_is_encoded_once_as_long_as_it_is_remembered() -> None:
    cache, encoder = PromptCache(), Encoder()
    assert [encoder.get(cache, key) for key in (1, 2, 1, 2, 1)] == [1, 2, 1, 2, 1]
    assert encoder.asked == [1, 2]


def test_the_memory_is_bounded() -> None:
    cache, encoder = PromptCache(), Encoder()
    for key in range(1000):
        encoder.get(cache, key)
    encoder.asked.clear()
    for key in reversed(range(1000)):
        encoder.get(cache, key)
    remembered = 1000 - len(encoder.asked)
    assert 0 < remembered <= 64


def test_the_prompt_used_last_is_forgotten_last() -> None:
    cache, encoder = PromptCache(), Encoder()
    encoder.get(cache, -1)
    for key in range(1000):
        encoder.get(cache, key)
        encoder.get(cache, -1)
    assert encoder.asked.count(-1) == 1


def test_a_failure_to_encode_is_not_remembered() -> None:
    cache, encoder = PromptCache(), Encoder()

    def fail() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        cache.get(1, fail)
    assert encoder.get(cache, 1) == 1


@pytest.fixture(params=["sd", "sdxl"])
def folder(request: pytest.FixtureRequest, folders: Mapping[str, Path]) -> Path:
    return folders[request.param]


def test_remembered_prompts_make_the_same_pictures(folder: Path) -> None:
    """Also where only the number of windows, or a missing and an empty negative prompt, tell two requests apart."""
    requests = [
        generation(),
        generation(negative_prompt=""),
        generation(negative_prompt=words(160)),
        generation(prompt=words(160), negative_prompt="a red circle"),
        generation(guidance_scale=1.0),
        generation(),
    ]
    used = load_pipeline(folder)
    first = [denoised(used, request)[0] for request in requests]
    again = [denoised(used, request)[0] for request in reversed(requests)][::-1]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
    for request, found in zip(requests[1:4], first[1:4], strict=True):
        assert relative_error(found, denoised(load_pipeline(folder), request)[0]) < 1e-6
