"""What the tests of the Hub as a source share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagegen_contract.server_status import DownloadProgress
from imagegen_server.sources import SourceError, Wanted, Weights
from imagegen_server.sources.hub import HubSource
from imagegen_server.sources.hub_client import HubLimits

MakeSource = Callable[..., HubSource]

QUICK = HubLimits(tries=3, first_pause=0.01, longest_pause=5.0, read_timeout=0.5)
"""Limits for tests: as patient as the real ones, only sooner."""

HALVES = (
    "safety_checker/model.fp16.safetensors",
    "text_encoder/model.fp16.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
)
"""The weights in 16 bit of a repository of hub_folders."""


def unheard(_: DownloadProgress) -> None:
    """Take no note."""


def fetch(source: HubSource, reference: str = "acme/model", **wanted: Any) -> Weights:
    """Fetch without a care for progress."""
    return source.fetch(Wanted(reference=reference, **wanted), unheard)


def refusal(source: HubSource, reference: str = "acme/model", **wanted: Any) -> SourceError:
    """Return why a fetch fails."""
    with pytest.raises(SourceError) as failure:
        fetch(source, reference, **wanted)
    return failure.value


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
