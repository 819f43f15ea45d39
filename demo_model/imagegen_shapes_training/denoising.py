"""Trains a denoiser on pools of latents, and goes on after a kill as if nothing had been.

Every step is a function of the weights and of its number alone: samples, captions, timesteps and noise are drawn by
generators seeded with it. So a run that was killed and resumed ends with the weights of one that was not.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagegen_shapes_training import checkpoints, diffusion
from imagegen_shapes_training.captions import caption
from imagegen_shapes_training.latents import Pool
from imagegen_shapes_training.optimiser import Optimiser, Trained
from imagegen_shapes_training.precision import mixed_precision
from imagegen_shapes_training.progress import Progress
from imagegen_shapes_training.recipe import DenoiserRecipe
from imagegen_shapes_training.tokenizer import unknown_words

NO_CAPTION = 0.10
"""Share of samples whose caption is empty: guidance compares with what the model paints when nothing is asked."""

Predict = Callable[[diffusion.Noised, Sequence[str]], Tensor]
"""Velocity that the model predicts for a noised batch and its captions."""


@dataclass(frozen=True)
class Task:
    """A denoiser to train: its numbers, pools, how it predicts, where its checkpoint lies, what loss is enough."""

    name: str
    recipe: DenoiserRecipe
    pools: Sequence[Pool]
    predict: Predict
    checkpoint: Path
    loss_below: float
    checkpoint_seconds: float = 180.0

    @property
    def numbers(self) -> dict[str, Any]:
        """What a checkpoint must have been made with."""
        return asdict(self.recipe)


def train(task: Task, module: Trained) -> Trained:
    """Return the averaged weights of ``module`` after all steps; the checkpoint is gone then.

    Raises:
        OtherRecipeError: The checkpoint was made with other numbers.
        StageFailedError: The loss did not come below the task's bound.
    """
    optimiser = _resumed(task, module)
    progress = Progress(task.name, task.recipe.schedule.steps, optimiser.steps_done)
    saved = time.monotonic()
    for step in range(optimiser.steps_done, task.recipe.schedule.steps):
        loss = _loss(task, step)
        optimiser.step(loss)
        progress.note(loss.item())
        if time.monotonic() - saved > task.checkpoint_seconds:
            checkpoints.save(task.checkpoint, optimiser.state(), task.numbers)
            saved = time.monotonic()
    progress.require_below(task.loss_below)
    task.checkpoint.unlink(missing_ok=True)
    return optimiser.average


def _resumed(task: Task, module: Trained) -> Optimiser[Trained]:
    optimiser = Optimiser(module, task.recipe.schedule, task.recipe.average)
    state = checkpoints.load(task.checkpoint, task.numbers)
    if state:
        optimiser.restore(state)
        print(f"{task.name}: goes on after step {optimiser.steps_done}", flush=True)
    return optimiser


def _loss(task: Task, step: int) -> Tensor:
    lots = random.Random(f"{task.name} {step}")
    pool = lots.choices(task.pools, [each.recipe.share for each in task.pools])[0]
    pool.move_to(step)
    compositions, latents = pool.batch(lots)
    captions = ["" if lots.random() < NO_CAPTION else caption(each, unknown_words(), lots) for each in compositions]
    batch = diffusion.noised(latents, torch.Generator().manual_seed(step))
    with mixed_precision():
        predicted = task.predict(batch, captions)
    return diffusion.loss(predicted, batch)
