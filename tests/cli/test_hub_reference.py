"""What people paste to name a model of the Hub."""

import pytest

from imagegen_cli.command import UsageError
from imagegen_cli.hub_reference import HubReference, parse_reference

PIPELINE = HubReference(repository="stabilityai/sdxl-turbo")
CHECKPOINT = HubReference(repository="stabilityai/sdxl-turbo", file="a/sd_xl.safetensors")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("stabilityai/sdxl-turbo", PIPELINE),
        ("hf://stabilityai/sdxl-turbo", PIPELINE),
        ("https://huggingface.co/stabilityai/sdxl-turbo", PIPELINE),
        ("https://huggingface.co/stabilityai/sdxl-turbo/?x=1#files", PIPELINE),
        ("http://127.0.0.1:9/stabilityai/sdxl-turbo", PIPELINE),
        (
            "https://hf.co/stabilityai/sdxl-turbo/tree/main",
            HubReference(repository=PIPELINE.repository, revision="main"),
        ),
        (
            "https://huggingface.co/stabilityai/sdxl-turbo/tree/refs%2Fpr%2F1",
            HubReference(repository=PIPELINE.repository, revision="refs/pr/1"),
        ),
        ("stabilityai/sdxl-turbo/a/sd_xl.safetensors", CHECKPOINT),
        ("hf://stabilityai/sdxl-turbo/a/sd_xl.safetensors", CHECKPOINT),
        (
            "https://huggingface.co/stabilityai/sdxl-turbo/blob/v1/a/sd_xl.safetensors",
            HubReference(repository=CHECKPOINT.repository, file=CHECKPOINT.file, revision="v1"),
        ),
        (
            "https://huggingface.co/stabilityai/sdxl-turbo/resolve/v1/a/sd_xl.safetensors?download=true",
            HubReference(repository=CHECKPOINT.repository, file=CHECKPOINT.file, revision="v1"),
        ),
    ],
)
def test_each_way_to_name_a_model_is_read(text: str, meant: HubReference) -> None:
    assert parse_reference(text, "http://127.0.0.1:9") == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt2", "names no model"),
        ("", "names no model"),
        ("a b/c", "names no model"),
        ("../x/y.safetensors", "names no model"),
        ("a/b/../c.safetensors", "names no model"),
        ("a/b/model.ckpt", "is a pickle"),
        ("a/b/unet", "is no .safetensors file"),
        ("https://huggingface.co/a/b/blob/main/v1.ckpt", "is a pickle"),
        ("https://huggingface.co/datasets/a/b", "leads to datasets"),
        ("https://huggingface.co/a/b/discussions/1", "leads into a repository"),
        ("https://huggingface.co/a/b/tree/main/unet", "leads into a repository"),
        ("https://huggingface.co.evil.example/a/b", "does not lead to the Hub"),
        ("https://example.org/a/b", "--endpoint"),
        ("ftp://huggingface.co/a/b", "does not lead to the Hub"),
        ("https://[::1/a/b", "is no address"),
    ],
)
def test_what_names_no_model_is_refused_with_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_reference(text)
    assert said in str(refused.value)
