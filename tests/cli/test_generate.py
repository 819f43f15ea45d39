"""`imagegen generate`: what is asked of the server, and where the pictures go."""

import json
from pathlib import Path
from typing import Any

import pytest

from command_line import assert_failed, generate, names
from fakes import FakeImageServer


def test_a_picture_is_written_as_the_server_sent_it(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        done = generate(tmp_path, server, "--seed", "42")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path) == ["shapes-42.png"]
    assert (tmp_path / "shapes-42.png").read_bytes() == server.picture("a red circle", 42)
    path, seed, size, seconds = done.stdout.strip().split("  ")
    assert (path, seed, size) == ("shapes-42.png", "seed 42", "256x256")
    assert float(seconds.removesuffix(" s")) >= 0


def test_a_random_seed_is_told_in_name_and_line(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        done = generate(tmp_path, server)
    assert names(tmp_path) == [f"shapes-{server.FIRST_RANDOM_SEED}.png"]
    assert f"seed {server.FIRST_RANDOM_SEED}" in done.stdout


def test_several_pictures_are_one_file_and_one_line_each(tmp_path: Path) -> None:
    with FakeImageServer() as server:
        done = generate(tmp_path, server, "-n", "3", "--seed", "7")
    for seed in (7, 8, 9):
        assert (tmp_path / f"shapes-{seed}.png").read_bytes() == server.picture("a red circle", seed)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["shapes-7.png", "shapes-8.png", "shapes-9.png"]
    assert len(server.received) == 1


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "shapes-42.png").write_bytes(b"mine")
    with FakeImageServer() as server:
        told = [generate(tmp_path, server, "--seed", "42").stdout.split()[0] for _ in range(2)]
    assert told == ["shapes-42-2.png", "shapes-42-3.png"]
    assert names(tmp_path) == ["shapes-42-2.png", "shapes-42-3.png", "shapes-42.png"]
    assert (tmp_path / "shapes-42.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "written", "output_format"),
    [
        pytest.param(["--output", "there"], ["there/shapes-42.png"], None, id="into a folder that exists"),
        pytest.param(["--output", "new/deep/"], ["new/deep/shapes-42.png"], None, id="a slash makes the folder"),
        pytest.param(["--output", "a.png"], ["a.png"], "png", id="into a file"),
        pytest.param(["--output", "there/a.JPG"], ["there/a.JPG"], "jpeg", id="the suffix sets the format"),
        pytest.param(["--format", "webp"], ["shapes-42.webp"], "webp", id="the format sets the suffix"),
        pytest.param(["--output", "a.png", "-n", "3"], ["a-2.png", "a-3.png", "a.png"], "png", id="one name for three"),
        pytest.param(["--model", "../../x\\evil"], ["x-evil-42.png"], None, id="a model's name leads nowhere else"),
    ],
)
def test_where_pictures_go(tmp_path: Path, arguments: list[str], written: list[str], output_format: str | None) -> None:
    (tmp_path / "there").mkdir()
    with FakeImageServer() as server:
        done = generate(tmp_path, server, "--seed", "42", *arguments)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == written
    assert json.loads(server.received[0].body).get("output_format") == output_format


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param([], {}, id="nothing but the prompt unless asked"),
        pytest.param(["--model", "sd14"], {"model": "sd14"}, id="model"),
        pytest.param(["--size", "512x768"], {"size": "512x768"}, id="size"),
        pytest.param(["-n", "2"], {"n": 2}, id="number"),
        pytest.param(["--seed", "0"], {"seed": 0}, id="a seed of zero is a seed"),
        pytest.param(["--steps", "30"], {"num_inference_steps": 30}, id="steps"),
        pytest.param(["--guidance", "0"], {"guidance_scale": 0.0}, id="no guidance is not the default guidance"),
        pytest.param(["--scheduler", "euler_a"], {"scheduler": "euler_a"}, id="scheduler"),
        pytest.param(["--negative-prompt", "blur"], {"negative_prompt": "blur"}, id="negative prompt"),
        pytest.param(["--quality", "high"], {"quality": "high"}, id="quality"),
        pytest.param(["--format", "jpeg"], {"output_format": "jpeg"}, id="format"),
    ],
)
def test_what_is_asked_is_sent(tmp_path: Path, arguments: list[str], sent: dict[str, Any]) -> None:
    with FakeImageServer() as server:
        generate(tmp_path, server, *arguments)
    assert json.loads(server.received[0].body) == {"prompt": "a red circle", **sent}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["--output", "missing/a.png"], 1, "missing does not exist", id="folder of the file is missing"),
        pytest.param(["--output", "file/"], 1, "cannot be made", id="folder's name is a file's"),
        pytest.param(["--output", "a.gif"], 2, ".png, .webp", id="unknown suffix"),
        pytest.param(["--output", "a.png", "--format", "webp"], 2, "contradicts", id="suffix against format"),
    ],
)
def test_a_place_where_nothing_can_go_costs_no_picture(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "file").touch()
    with FakeImageServer() as server:
        done = generate(tmp_path, server, *arguments)
    assert_failed(done, said, code=code)
    assert server.received == []
