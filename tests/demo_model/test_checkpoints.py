"""Stage folders and checkpoints are whole or absent, and never mixed up."""

from pathlib import Path

import pytest
import torch

from imagegen_shapes_training import checkpoints
from imagegen_shapes_training.checkpoints import OtherRecipeError, once

NUMBERS = {"steps": 3, "pools": ({"pixels": 64},)}


def write(folder: Path) -> None:
    (folder / "weights").write_text("made")


def fail(folder: Path) -> None:
    write(folder)
    raise KeyboardInterrupt


def refuse(folder: Path) -> None:
    raise AssertionError(f"{folder} is made again")


def test_a_stage_is_made_once(tmp_path: Path) -> None:
    once(tmp_path / "vae", NUMBERS, write)
    once(tmp_path / "vae", NUMBERS, refuse)
    assert (tmp_path / "vae" / "weights").read_text() == "made"


def test_a_stage_that_was_interrupted_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        once(tmp_path / "vae", NUMBERS, fail)
    assert not (tmp_path / "vae").exists()
    once(tmp_path / "vae", NUMBERS, write)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vae"]


def test_a_folder_of_other_numbers_is_refused_in_words(tmp_path: Path) -> None:
    once(tmp_path / "vae", NUMBERS, write)
    with pytest.raises(OtherRecipeError, match=r"vae was made with other numbers: .*3.* instead of .*4.*; remove "):
        once(tmp_path / "vae", NUMBERS | {"steps": 4}, refuse)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "unet.checkpoint"
    assert checkpoints.load(file, NUMBERS) is None
    checkpoints.save(file, {"steps_done": 1, "weight": torch.ones(2)}, NUMBERS)
    checkpoints.save(file, {"steps_done": 2, "weight": torch.zeros(2)}, NUMBERS)
    state = checkpoints.load(file, NUMBERS)
    assert state is not None
    assert state["steps_done"] == 2
    assert state["weight"].tolist() == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["unet.checkpoint"]


def test_a_checkpoint_of_other_numbers_is_refused(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "file", {"steps_done": 1}, NUMBERS)
    with pytest.raises(OtherRecipeError, match="other numbers"):
        checkpoints.load(tmp_path / "file", {"steps": 4})
