"""The training as a whole: every stage in its quick form, and a denoiser that is killed and resumed."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image

from imagegen_shapes import WEIGHTS

pytestmark = pytest.mark.slow

QUICK_SECONDS = 280
"""Far more than it takes: about 40 seconds of CPU time."""

STEPS = 14

DENOISER = f"""
import os, signal, sys
from pathlib import Path
import torch
from diffusers import StableDiffusionPipeline
from imagegen_shapes_training import denoising, text_encoder, unet
from imagegen_shapes_training.latents import Pool
from imagegen_shapes_training.recipe import DenoiserRecipe, PoolRecipe, Schedule
torch.set_num_threads(1)
torch.manual_seed(1)
parts = StableDiffusionPipeline.from_pretrained({str(WEIGHTS)!r}, dtype=torch.float32)
network = unet.build()
steps_before_the_kill = int(sys.argv[3])
def predict(batch, captions):
    global steps_before_the_kill
    if steps_before_the_kill == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    steps_before_the_kill -= 1
    states = text_encoder.hidden_states(parts.text_encoder, captions)
    return network(batch.sample, batch.timesteps, states).sample
pools = (PoolRecipe(64, 16, 2, 4, 0.5), PoolRecipe(32, 16, 3, 4, 0.5))
recipe = DenoiserRecipe(Schedule({STEPS}, 1e-3, 5, 0.5), pools, 0.9)
task = denoising.Task(
    "unet", recipe, [Pool(each, parts.vae, unet.MIX) for each in pools], predict, Path(sys.argv[1]), 9.0,
    checkpoint_seconds=0.0,
)
torch.save(denoising.train(task, network).state_dict(), sys.argv[2])
"""


def train(checkpoint: Path, result: Path, kill_after: int = -1) -> subprocess.CompletedProcess[str]:
    """Run a small training in its own process, which kills itself after ``kill_after`` steps."""
    command = [sys.executable, "-W", "ignore", "-c", DENOISER, str(checkpoint), str(result), str(kill_after)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_denoiser_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    checkpoint, resumed, straight = tmp_path / "checkpoint", tmp_path / "resumed", tmp_path / "straight"
    # Late, so that the moving average has no time to forget what a resume would lose of it.
    assert train(checkpoint, resumed, kill_after=STEPS - 2).returncode == -signal.SIGKILL
    assert not resumed.exists()
    assert f"goes on after step {STEPS - 2}" in train(checkpoint, resumed).stdout
    assert "goes on" not in train(tmp_path / "unused", straight).stdout
    weights, expected = torch.load(resumed, weights_only=True), torch.load(straight, weights_only=True)
    assert max((weights[name] - expected[name]).abs().max().item() for name in expected) < 1e-6
    assert not checkpoint.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder of a quick training and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "imagegen_shapes_training", "--quick", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=QUICK_SECONDS, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return out, run.stdout


def test_the_quick_training_runs_every_stage_and_prints_its_table(trained: tuple[Path, str]) -> None:
    out, printed = trained
    for stage in ("vae, both: 30/30", "vae, decoder: 10/10", "text encoder: 40/40", "unet: 30/30", "twin: 8/8"):
        assert stage in printed
    assert "background %" in printed
    assert {path.name for path in out.iterdir()} == {
        *("vae", "text_encoder", "unet", "shapes", "shapes-xl", "contact-sheet.png")
    }
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.size == (6 * 128, 2 * 128)


@pytest.mark.parametrize(
    ("name", "family"), [("shapes", StableDiffusionPipeline), ("shapes-xl", StableDiffusionXLPipeline)]
)
def test_what_it_makes_loads_in_diffusers_and_paints(
    trained: tuple[Path, str], name: str, family: type[StableDiffusionPipeline | StableDiffusionXLPipeline]
) -> None:
    folder = trained[0] / name
    pipeline: Any = family.from_pretrained(str(folder), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    painted = pipeline("a red circle", num_inference_steps=2, height=64, width=64, output_type="np").images
    assert painted.shape == (1, 64, 64, 3)
    assert np.isfinite(painted).all()
    assert painted.std() > 0.001
    assert str(trained[0].parent) not in "".join(file.read_text() for file in folder.rglob("*.json"))


def test_quick_weights_are_not_installed() -> None:
    command = [sys.executable, "-m", "imagegen_shapes_training", "--quick", "--install"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "leave one of --quick and --install out" in run.stderr


def test_weights_made_with_other_numbers_are_refused_before_anything_is_trained(trained: tuple[Path, str]) -> None:
    command = [sys.executable, "-m", "imagegen_shapes_training", "--out", str(trained[0])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "vae was made with other numbers" in run.stderr
