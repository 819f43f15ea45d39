"""Proves at load that a model can make a picture, and measures what one takes.

A model that is ready must not fail each request, so the smallest picture is made before it is: text encoders, UNet, VAE
and safety checker run once, through the same calls as for a request. (`samplers` has tried the presets before that.)
What fails here fails the load, in words that name the component.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import torch

from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import MIN_SIDE, SIZE_MULTIPLE, ImageSize
from imagegen_server.device_thread import DeviceOutOfMemoryError
from imagegen_server.errors import ContentPolicy, DeviceLostError, LoadError, NonFiniteOutput
from imagegen_server.generation import Generation, Measured
from imagegen_server.jobs import Pipeline
from imagegen_server.pipelines.components import WeightsError
from imagegen_server.pipelines.library_errors import words_of
from imagegen_server.pipelines.samplers import Samplers

_SMALLEST = ImageSize(MIN_SIDE, MIN_SIDE)
_PROMPT = "a red circle"

_STEPS = 2
"""An evaluation for each of the two that are timed."""
_MEASURE_SECONDS = 2.0
"""A larger picture is measured when its evaluation and decoding are predicted to take less than this."""

_FROM_ONE_MODEL = "take all components from one model, or download it again"


class Provable(Pipeline, Protocol):
    """A pipeline and what it offers."""

    samplers: Samplers

    def decoded(self, row: Any) -> Any:
        """Decode a finished row to uint8 of shape (height, width, 3), without the safety checker."""
        ...


class Proof:
    """Makes one small picture, and measures larger ones up to the model's usual size where that is quick.

    ``pieces`` yields calls for the device thread, each of them short, so that running requests take turns with them.
    """

    def __init__(
        self, pipeline: Provable, spec: ImageModelSpec, usual_size: ImageSize, finish: Callable[[], None]
    ) -> None:
        """``finish`` waits until the device has done what it was given."""
        self._pipeline = pipeline
        self._spec = spec
        self._usual_size = usual_size
        self._finish = finish
        self._rows: dict[ImageSize, Any] = {}
        self._evaluations: dict[ImageSize, float] = {}
        self._decodes: dict[ImageSize, float] = {}
        self._too_large: ImageSize | None = None

    @property
    def measured(self) -> tuple[Measured, ...]:
        """What the sizes took that have been measured."""
        guided = self._spec.inference.guidance_scale > 1
        return tuple(
            Measured(pixels=size.pixels, guided=guided, evaluation=self._evaluations[size], decode=decode)
            for size, decode in self._decodes.items()
        )

    def pieces(self) -> Iterator[Callable[[], None]]:
        """Yield the calls in order, each after the one before has run; they raise LoadError."""
        size: ImageSize | None = _SMALLEST
        while size is not None:
            for piece in (self._admit, self._evaluate, self._decode):
                yield partial(self._unless_too_large, piece, size)
            size = self._next_size(size)

    def _unless_too_large(self, piece: Callable[[ImageSize], None], size: ImageSize) -> None:
        """Run a piece; where the device has no memory for a larger picture than the smallest, end the measuring."""
        try:
            if size != self._too_large:
                piece(size)
        except DeviceOutOfMemoryError:
            if size == _SMALLEST:
                raise
            self._too_large = size
            self._rows.clear()

    def _admit(self, size: ImageSize) -> None:
        with _failures("text_encoder: a prompt cannot be encoded"):
            (row,) = self._pipeline.admit(self._generation(size))
        if not bool(torch.isfinite(row.prompt.states).all()):
            raise WeightsError(f"text_encoder: it computes values that are no numbers; {_FROM_ONE_MODEL}")
        self._rows[size] = row

    def _evaluate(self, size: ImageSize) -> None:
        row = self._rows[size]
        with _failures("unet: it cannot be evaluated"):
            self._evaluations[size] = self._timed(lambda: self._pipeline.advance([row]))
        try:
            row.finished_latents()
        except NonFiniteOutput:
            raise WeightsError(
                "unet: it computes values that are no numbers; its weights are damaged (download them again), or "
                "need another number format (setting dtype)"
            ) from None

    def _decode(self, size: ImageSize) -> None:
        row = self._rows.pop(size)
        with _failures("vae: latents cannot be decoded"):
            picture = self._decoded(row)
        if picture.shape != (size.height, size.width, 3):
            height, width, channels = picture.shape
            raise WeightsError(
                f"vae: it makes a picture of {width}x{height} with {channels} channel(s) where {size} with 3 was "
                f"wanted; {_FROM_ONE_MODEL}"
            )
        with _failures("safety_checker: it cannot be run"):
            self._decodes[size] = self._timed(lambda: self._picture(row))

    def _decoded(self, row: Any) -> Any:
        try:
            return self._pipeline.decoded(row)
        except NonFiniteOutput:
            raise WeightsError(f"vae: it computes values that are no numbers; {_FROM_ONE_MODEL}") from None

    def _picture(self, row: Any) -> None:
        with suppress(ContentPolicy):  # the safety checker works
            self._pipeline.picture(row)

    def _timed(self, work: Callable[[], None]) -> float:
        """Run ``work`` twice and return the seconds of the faster time.

        The first allocates and chooses algorithms, and on a busy machine the second may be ten times slower than that.
        """
        return min(self._seconds(work), self._seconds(work))

    def _seconds(self, work: Callable[[], None]) -> float:
        started = time.monotonic()
        work()
        self._finish()
        return time.monotonic() - started

    def _next_size(self, size: ImageSize) -> ImageSize | None:
        """Return the largest picture that is quick to measure, by what the last one took; None when there is none.

        The prediction is on the safe side: small pictures take longer for each pixel than large ones.
        """
        if self._too_large is not None:
            return None
        seconds = self._evaluations[size] + self._decodes[size]
        for candidate in (self._usual_size, _halved(self._usual_size), _halved(_halved(self._usual_size))):
            if candidate.pixels > size.pixels and seconds * candidate.pixels / size.pixels <= _MEASURE_SECONDS:
                return candidate
        return None

    def _generation(self, size: ImageSize) -> Generation:
        offered = self._pipeline.samplers.offered
        preset = self._spec.inference.scheduler or self._pipeline.samplers.own_preset
        return Generation(
            model_id=self._spec.id,
            prompt=_PROMPT,
            negative_prompt=None,
            size=size,
            steps=_STEPS,
            guidance_scale=self._spec.inference.guidance_scale,
            scheduler=preset if preset in offered else offered[0],
            seeds=(0,),
        )


def check_samplers(samplers: Samplers, spec: ImageModelSpec) -> None:
    """Raise WeightsError when requests could name no sampler, or not the one that the model's entry promises."""
    offered, entry = samplers.offered, spec.inference
    if not offered:
        raise WeightsError(
            "scheduler: no sampler works with its configuration; take the scheduler folder of the model that these "
            "weights were made from"
        )
    if entry.scheduler is not None and entry.scheduler not in offered:
        raise WeightsError(
            f"scheduler: {entry.scheduler} of the model's entry does not work with the configuration of these weights; "
            f"{', '.join(offered)} do"
        )
    if entry.schedulers and not set(entry.schedulers) & set(offered):
        raise WeightsError(
            f"scheduler: none of the schedulers of the model's entry ({', '.join(entry.schedulers)}) works with the "
            f"configuration of these weights; {', '.join(offered)} do"
        )


def _halved(size: ImageSize) -> ImageSize:
    return ImageSize(*(max(MIN_SIDE, side // 2 // SIZE_MULTIPLE * SIZE_MULTIPLE) for side in (size.width, size.height)))


@contextmanager
def _failures(what: str) -> Generator[None]:
    """Turn what a component raises into a WeightsError; the device's own failures pass."""
    try:
        yield
    except (LoadError, DeviceOutOfMemoryError, DeviceLostError):
        raise
    except Exception as error:
        raise WeightsError(f"{what}: {words_of(error)}; {_FROM_ONE_MODEL}") from error
