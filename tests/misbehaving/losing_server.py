"""A server whose device is lost in the fifth evaluation of a request; all else is the real server.

The families of pipelines are a table; here the table has another Stable Diffusion in it.
"""

from collections.abc import Sequence
from typing import Any

from imagegen_server import main
from imagegen_server.errors import DeviceLostError
from imagegen_server.generation import Generation
from imagegen_server.pipelines import loading
from imagegen_server.pipelines.stable_diffusion import StableDiffusion

EVALUATIONS = 5
_STEPS_OF_THE_PROOF = 2


class LosesItsDevice(StableDiffusion):
    """Works until the device is gone."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self._left = EVALUATIONS
        self._in_use = False

    def admit(self, generation: Generation) -> Sequence[Any]:
        """Begin a request; the picture that is made while the model is loaded has two steps."""
        self._in_use = generation.steps > _STEPS_OF_THE_PROOF
        return super().admit(generation)

    def advance(self, rows: Sequence[Any]) -> None:
        """Evaluate, a few times."""
        self._left -= self._in_use
        if self._left == 0:
            raise DeviceLostError("the GPU stopped working: CUDA error: unspecified launch failure")
        super().advance(rows)


if __name__ == "__main__":
    loading._FAMILIES["StableDiffusionPipeline"] = LosesItsDevice  # pyright: ignore[reportPrivateUsage] - no setting breaks a device
    main.run()
