"""models_info.json while a server runs: good edits are taken, bad ones are refused in words and change nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagegen_contract.catalog import CatalogError
from imagegen_contract.image_model import ImageModelSpec
from imagegen_server.catalog_file import CatalogFile


class Taker:
    """Takes catalogs, except those without ``needed``."""

    def __init__(self, needed: str = "") -> None:
        self.taken: list[list[str]] = []
        self._needed = needed

    def __call__(self, specs: Sequence[ImageModelSpec]) -> None:
        """Note the ids."""
        ids = [spec.id for spec in specs]
        if self._needed and self._needed not in ids:
            raise CatalogError([f"{self._needed} is missing"])
        self.taken.append(ids)


def entries(*ids: str) -> str:
    return json.dumps([{"publisher": "a", "family": "b", "version": "1", "id": model_id} for model_id in ids])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "models_info.json"
    file.write_text(entries("acme/one"))
    return file


def looks(catalog: CatalogFile, times: int = 2) -> None:
    for _ in range(times):
        catalog.look()


def test_an_edit_is_taken_once_it_rests(path: Path) -> None:
    taker = Taker()
    catalog = CatalogFile(path, taker)
    looks(catalog, 3)
    assert taker.taken == []
    path.write_text(entries("acme/one", "acme/two"))
    catalog.look()
    assert taker.taken == [], "a file that has just changed may be half written"
    looks(catalog, 3)
    assert taker.taken == [["acme/one", "acme/two"]]


def test_a_file_that_is_replaced_is_an_edit(path: Path) -> None:
    taker = Taker()
    catalog = CatalogFile(path, taker)
    fresh = path.with_name("new.json")
    fresh.write_text(entries("acme/two"))
    fresh.replace(path)
    looks(catalog)
    assert taker.taken == [["acme/two"]]


def test_a_link_that_is_turned_elsewhere_is_an_edit(tmp_path: Path) -> None:
    """Kubernetes swaps a ConfigMap by such a link."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "models_info.json").write_text(entries(f"acme/{version}"))
    (tmp_path / "data").symlink_to(tmp_path / "one")
    taker = Taker()
    catalog = CatalogFile(tmp_path / "data" / "models_info.json", taker)
    (tmp_path / "fresh").symlink_to(tmp_path / "two")
    (tmp_path / "fresh").replace(tmp_path / "data")
    looks(catalog)
    assert taker.taken == [["acme/two"]]


BAD_EDITS = {
    "not JSON": ("[", "not JSON"),
    "an unknown field": (entries("acme/one").replace("version", "verson"), "verson"),
    "a model that this server needs is gone": (entries("acme/three"), "acme/one is missing"),
    "the file is gone": (None, "cannot be read"),
}


@pytest.mark.parametrize(("text", "words"), BAD_EDITS.values(), ids=BAD_EDITS)
def test_a_bad_edit_is_refused_in_words_until_it_is_mended(path: Path, text: str | None, words: str) -> None:
    taker = Taker(needed="acme/one")
    catalog = CatalogFile(path, taker)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    looks(catalog)
    assert taker.taken == []
    assert words in catalog.status.error
    assert catalog.status.file == str(path)
    path.write_text(entries("acme/one", "acme/three"))
    looks(catalog)
    assert (taker.taken, catalog.status.error) == ([["acme/one", "acme/three"]], "")


def test_a_bad_edit_is_refused_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalog = CatalogFile(path, Taker())
    path.write_text("[")
    looks(catalog, 5)
    assert [record.message for record in caplog.records] == ["the catalog's edit is refused, the one before stays"]
