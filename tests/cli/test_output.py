"""What a program does when its output is full, closed, unread, or lacks a character: words and an exit code."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import yaml

from command_line import assert_failed, imagegen, imagegen_here, terminal
from conftest import Show
from fakes import FakeImageServer
from imagegen_cli.command import CommandError
from imagegen_cli.picture_files import write_new
from model_states import SHAPES
from server_process import wait_until

PROGRAMS = ["imagegen_cli.main", "imagegen_server.main", "imagegen_router.main", "imagegen_operator.main"]
NAMES = {module: module.partition(".")[0].replace("_", "-").removesuffix("-cli") for module in PROGRAMS}
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
CATALOG = '[{"publisher": "ä€😀", "family": "sd", "version": "1", "id": "acme/one"}]'


def ended(
    module: str, *arguments: str, output: str | int, environment: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a program with ``output`` as its stdout; return its exit code and what it said on stderr."""
    command = [sys.executable, "-m", module, *arguments]
    file = os.open(output, os.O_WRONLY) if isinstance(output, str) else output
    try:
        done = subprocess.run(
            command, env=environment or {}, stdout=file, stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )
    finally:
        os.close(file)
    return done.returncode, done.stderr


def unread() -> int:
    """Return the writing end of a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def shell(redirection: str, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program with streams as a shell opens and closes them."""
    command = ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_has_words_for_output_that_cannot_be_written(module: str, show: Show) -> None:
    words = f"{NAMES[module]}: the output cannot be written: No space left on device\n"
    assert ended(module, "--help", output="/dev/full") == (1, words)
    assert shell("2>&-", module, "--no-such-flag").returncode == 2
    show("14.1 fault 10: output that cannot be written", f"{module}: words, no traceback")


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        pytest.param(">&-", 0, id="no output"),
        pytest.param(">&- 2>&- <&-", 0, id="nothing at all"),
        pytest.param("2>/dev/full", 0, id="full errors"),
        pytest.param(">/dev/full 2>/dev/full", 1, id="all full"),
    ],
)
def test_streams_that_are_closed_or_full_show_no_traceback(redirection: str, code: int) -> None:
    done = shell(redirection, "imagegen_cli.main", "models", "--help")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("environment", [{}, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_list_that_cannot_be_written_is_told_in_one_line(environment: dict[str, str]) -> None:
    with FakeImageServer() as server:
        list_models = ["imagegen_cli.main", "models", "list", "--server", server.url]
        told = ended(*list_models, output="/dev/full", environment=environment)
        assert told == (1, "imagegen: the output cannot be written: No space left on device\n")
        assert ended(*list_models, output=unread(), environment=environment) == (128 + signal.SIGPIPE, "")


def test_more_than_a_buffer_holds_ends_alike() -> None:
    model = msgspec.structs.replace(SHAPES, description="x" * 100_000)
    with FakeImageServer(model) as server:
        list_models = ["imagegen_cli.main", "models", "list", "--server", server.url]
        assert ended(*list_models, output="/dev/full")[0] == 1
        assert ended(*list_models, output=unread()) == (128 + signal.SIGPIPE, "")


def test_problems_that_cannot_be_shown_do_not_hide_that_there_are_some(tmp_path: Path) -> None:
    code, words = ended("imagegen_cli.main", "models", "check", str(tmp_path / "none"), output="/dev/full")
    assert code == 1
    assert [line.partition(": ")[0] for line in words.splitlines()] == ["imagegen", "imagegen"]
    assert "has 1 problem" in words


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_encoding_lacks_is_shown_as_an_escape(tmp_path: Path, encoding: str) -> None:
    catalog, output = tmp_path / "models.json", tmp_path / "output"
    catalog.write_text(CATALOG)
    output.touch()
    environment = {"PYTHONIOENCODING": encoding}
    to_crd = ["imagegen_cli.main", "models", "to-crd", str(catalog)]
    assert ended(*to_crd, output=str(output), environment=environment) == (0, "")
    shown = output.read_bytes().decode(encoding)
    assert yaml.safe_load(shown)["spec"]["publisher"] == "ä€😀", "an escape of YAML too"


def test_json_stays_json_whatever_the_encoding(tmp_path: Path) -> None:
    model = msgspec.structs.replace(SHAPES, description="ä€😀")
    with FakeImageServer(model) as server:
        done = imagegen(tmp_path, "models", "list", "--json", "--server", server.url, PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["data"][0]["description"] == "ä€😀"


def test_a_name_that_is_no_text_is_shown(tmp_path: Path) -> None:
    """Names of files are bytes, which Python holds as lone surrogates."""
    with FakeImageServer() as server:
        name = os.fsdecode(b"\xff.png")
        done = imagegen(tmp_path, "generate", "x", "--output", name, "--server", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [b"\xff.png"]


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with largest_file(100), pytest.raises(CommandError, match=r"a\.png cannot be written: File too large"):
        write_new(tmp_path / "a.png", b"x" * 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing_costs_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", _denied)  # the tests may run as root, who may write everywhere
    with FakeImageServer() as server:
        for output in (tmp_path, tmp_path / "a.png"):
            done = imagegen_here(capsys, "generate", "x", "--output", str(output), "--server", server.url)
            assert_failed(done, f"the folder {tmp_path} cannot be written to by this user")
    assert server.received == []


def _denied(path: Path, mode: int) -> bool:
    del path, mode
    return False


def test_a_path_that_no_system_has_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    done = imagegen_here(capsys, "generate", "x", "--output", "a" * 5000, "--server", "http://127.0.0.1:9")
    assert_failed(done, "File name too long")


def test_ctrl_c_while_pictures_are_made_is_one_line(tmp_path: Path) -> None:
    with FakeImageServer(silent=True) as server:
        waiting = terminal(tmp_path, "generate", "x", "--server", server.url)
        wait_until(lambda: server.received, 20, "the request to come")
        waiting.interrupt()
        code, shown = waiting.read_all()
    assert (code, shown) == (130, "imagegen: interrupted\r\n")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Let this process write no file that is larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
