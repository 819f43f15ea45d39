"""AdamW with a schedule, clipping and a moving average of the weights: the same for every stage."""

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from imagegen_shapes_training.recipe import Schedule

BETAS = (0.9, 0.98)
WEIGHT_DECAY = 0.01
LARGEST_GRADIENT = 1.0

Trained = TypeVar("Trained", bound=nn.Module)


class Optimiser(Generic[Trained]):
    """Trains the parameters of ``module`` that want gradients, and keeps their moving average in ``average``.

    The average's decay grows from 0 to ``decay``, so that it forgets the first, random weights.
    """

    def __init__(self, module: Trained, schedule: Schedule, decay: float) -> None:
        self.average: Trained = copy.deepcopy(module)
        self.steps_done = 0
        self._module = module
        self._schedule = schedule
        self._decay = decay
        self._pairs = [
            (averaged, parameter)
            for averaged, parameter in zip(self.average.parameters(), module.parameters(), strict=True)
            if parameter.requires_grad
        ]
        self._adam = torch.optim.AdamW(self._trained, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)

    def step(self, loss: Tensor) -> None:
        """Go one step down the gradient of ``loss``."""
        for group in self._adam.param_groups:
            group["lr"] = self._schedule.rate(self.steps_done)
        self._adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, LARGEST_GRADIENT)
        self._adam.step()
        self.steps_done += 1
        self._update_average()

    def state(self) -> dict[str, Any]:
        """Return everything that the next steps depend on."""
        return {
            "steps_done": self.steps_done,
            "module": self._module.state_dict(),
            "average": self.average.state_dict(),
            "adam": self._adam.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.steps_done = state["steps_done"]
        self._module.load_state_dict(state["module"])
        self.average.load_state_dict(state["average"])
        self._adam.load_state_dict(state["adam"])

    @property
    def _trained(self) -> list[nn.Parameter]:
        return [parameter for _, parameter in self._pairs]

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self._decay, self.steps_done / (self.steps_done + 20))
        for averaged, parameter in self._pairs:
            averaged.lerp_(parameter, 1 - decay)
