"""The `imagegen` program itself: usage, version, and commands that other components add."""

from importlib import metadata
from pathlib import Path

import pytest

from command_line import assert_failed, imagegen
from fakes import FakeImageServer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([], "COMMAND", id="no command"),
        pytest.param(["paint"], "paint", id="unknown command"),
        pytest.param(["generate"], "PROMPT", id="no prompt"),
        pytest.param(["generate", "x", "--size", "big"], "WIDTHxHEIGHT", id="malformed size"),
        pytest.param(["generate", "x", "--steps", "many"], "--steps", id="steps in words"),
        pytest.param(["generate", "x", "--timeout", "0"], "--timeout", id="no time at all"),
        pytest.param(["generate", "x", "--timeout", "nan"], "--timeout", id="time that is no number"),
        pytest.param(["--timeout", "-1", "models", "list"], "--timeout", id="less than no time"),
        pytest.param(["models"], "ACTION", id="no action"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = imagegen(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    assert imagegen(tmp_path, "--version").stdout == f"imagegen {metadata.version('imagegen')}\n"


def component(folder: Path, code: str) -> str:
    """Make a distribution with the command ``extra`` and return the PYTHONPATH that installs it."""
    information = folder / "other-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[imagegen.commands]\nextra = other_component:COMMAND\n")
    (folder / "other_component.py").write_text(code)
    return str(folder)


WORKING_COMPONENT = """
from imagegen_cli.command import Command
def run(args):
    print("ran", args.thing)
    return 7
COMMAND = Command(name="extra", help="do more", configure=lambda parser: parser.add_argument("thing"), run=run)
"""


def test_a_component_adds_a_command_by_an_entry_point(tmp_path: Path) -> None:
    path = component(tmp_path, WORKING_COMPONENT)
    done = imagegen(tmp_path, "extra", "it", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (7, "ran it\n")
    assert "do more" in imagegen(tmp_path, "--help", PYTHONPATH=path).stdout


def test_a_component_without_its_libraries_leaves_the_others_working(tmp_path: Path) -> None:
    path = component(tmp_path, "import a_library_that_is_not_here\n")
    assert_failed(imagegen(tmp_path, "extra", "it", PYTHONPATH=path), "extra", "a_library_that_is_not_here")
    with FakeImageServer() as server:
        assert imagegen(tmp_path, "models", "list", "--server", server.url, PYTHONPATH=path).returncode == 0
