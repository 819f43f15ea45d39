"""A Hub with one repository, and sources that fetch from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from hub_fetching import QUICK, MakeSource
from hub_folders import write_repository
from hub_server import Hub, hub_server
from imagegen_server.sources.hub import HubSettings, HubSource
from imagegen_server.sources.hub_client import HubLimits


@pytest.fixture(scope="session")
def repository_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a repository that no test may change."""
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def hub(repository_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a Hub that has ``acme/model``; nobody here has a token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with hub_server({"acme/model": repository_folder}) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the folder of an empty cache."""
    return tmp_path / "cache"


@pytest.fixture
def make_source(hub: Hub, cache: Path) -> MakeSource:
    """Return a function that makes a source, with further settings where given."""

    def make(limits: HubLimits = QUICK, **settings: object) -> HubSource:
        return HubSource(HubSettings(**{"endpoint": hub.url, "cache": str(cache), **settings}), limits)  # pyright: ignore[reportArgumentType] - as the caller says

    return make
