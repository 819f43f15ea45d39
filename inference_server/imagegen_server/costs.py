"""What work costs in device seconds, learned from every evaluation and decoding. Pure: times come in as arguments.

Each measurement counts, also those of a request that fails, is cancelled or runs out of time. They are kept for each
model by size, guidance and number of rows in a call; `device_costs` says what is derived from them. Before anything was
measured there is a guess, by which nobody is refused.
"""

from collections.abc import Hashable
from typing import TypeVar

import msgspec

from imagegen_contract.device_costs import DecodeCost, EvaluationCost, ModelCosts
from imagegen_server.generation import Generation

Key = TypeVar("Key", bound=Hashable)

FRESH_SECONDS = 60.0
"""A measurement is trusted for as long: what is older is still the best prediction, but refuses nobody."""

_WEIGHT = 0.1
"""Share of the newest measurement: a change of speed shows within a request, one outlier does not rule."""

_MOST_KINDS = 32
"""Kinds of work remembered for a model, the latest: clients choose sizes, and there are thousands."""

_GUESS_SECONDS_PER_PIXEL = 2e-6
"""Before anything was measured: 0.1 s a step at 256x256, as a small model takes on a busy CPU core."""


class Kind(msgspec.Struct, frozen=True):
    """What the cost of an evaluation depends on: pixels of a picture, guidance, pictures in a call."""

    pixels: int
    guided: bool
    rows: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Device seconds of some work. ``measured`` says whether they are more than a guess."""

    seconds: float
    least: float | None = None
    """What the work takes at the fastest pace of its own kind that was seen lately; None when none was."""
    measured: bool = True


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What is still to be done for a request: evaluations of single pictures, and pictures to decode."""

    evaluations: int
    images: int


class _Pace(msgspec.Struct):
    """Seconds of one kind of work: how long it takes on average, at its fastest, and when that was seen."""

    mean: float
    fastest: float
    count: int
    seen_at: float

    def take(self, seconds: float, now: float) -> None:
        """Take in a measurement; what is not fresh any more is forgotten."""
        self.count = 1 if now - self.seen_at > FRESH_SECONDS else self.count + 1
        weight = max(_WEIGHT, 1 / self.count)
        self.mean += weight * (seconds - self.mean)
        # Down at once, up slowly: a machine that is busy for a moment has not become slow.
        self.fastest = min(seconds, self.fastest + weight * (seconds - self.fastest))
        self.seen_at = now


class CostModel:
    """Learned costs of all models. Used on the event loop only; times are seconds of one clock."""

    def __init__(self) -> None:
        self._evaluations: dict[str, dict[Kind, _Pace]] = {}
        self._decodes: dict[str, dict[int, _Pace]] = {}

    def learn_evaluation(self, model_id: str, kind: Kind, seconds: float, now: float) -> None:
        """Take in what one evaluation took, divided by its rows."""
        _take(self._evaluations.setdefault(model_id, {}), kind, seconds, now)

    def learn_decode(self, model_id: str, pixels: int, seconds: float, now: float) -> None:
        """Take in what decoding one picture took."""
        _take(self._decodes.setdefault(model_id, {}), pixels, seconds, now)

    def predict(self, generation: Generation, left: Left, now: float) -> Prediction:
        """Return the device seconds of what is left of a request."""
        kind = kind_of(generation)
        evaluation, decode = self._evaluation(generation.model_id, kind), self._decode(generation.model_id, kind.pixels)
        if evaluation is None or decode is None:
            guess = kind.pixels * _GUESS_SECONDS_PER_PIXEL
            return Prediction(seconds=guess * (left.evaluations + left.images), measured=False)
        return Prediction(
            seconds=left.evaluations * evaluation + left.images * decode, least=self._least(generation, left, now)
        )

    def of(self, model_id: str) -> ModelCosts:
        """Return what was measured of a model."""
        evaluations, decodes = self._evaluations.get(model_id, {}), self._decodes.get(model_id, {})
        return ModelCosts(
            model=model_id,
            evaluations=tuple(
                EvaluationCost(pixels=kind.pixels, guided=kind.guided, rows=kind.rows, seconds=pace.mean)
                for kind, pace in evaluations.items()
            ),
            decodes=tuple(DecodeCost(pixels=pixels, seconds=pace.mean) for pixels, pace in decodes.items()),
        )

    def all(self) -> tuple[ModelCosts, ...]:
        """Return what was measured of every model."""
        return tuple(self.of(model_id) for model_id in self._evaluations)

    def _evaluation(self, model_id: str, kind: Kind) -> float | None:
        pace = self._evaluations.get(model_id, {}).get(kind)
        return pace.mean if pace else self.of(model_id).evaluation(kind.pixels, kind.rows, guided=kind.guided)

    def _decode(self, model_id: str, pixels: int) -> float | None:
        pace = self._decodes.get(model_id, {}).get(pixels)
        return pace.mean if pace else self.of(model_id).decode(pixels)

    def _least(self, generation: Generation, left: Left, now: float) -> float | None:
        """Return the seconds at the fastest pace; a decoding that was not seen lately is counted as nothing."""
        pace = self._evaluations[generation.model_id].get(kind_of(generation))
        if pace is None or now - pace.seen_at > FRESH_SECONDS:
            return None
        decode = self._decodes.get(generation.model_id, {}).get(generation.size.pixels)
        fresh = decode is not None and now - decode.seen_at <= FRESH_SECONDS
        return left.evaluations * pace.fastest + (left.images * decode.fastest if decode and fresh else 0.0)


def kind_of(generation: Generation) -> Kind:
    """Return what the evaluations of a request cost by, when all its pictures share them."""
    return Kind(generation.size.pixels, generation.guided, len(generation.seeds))


def _take(paces: dict[Key, _Pace], key: Key, seconds: float, now: float) -> None:
    pace = paces.pop(key, None) or _Pace(mean=seconds, fastest=seconds, count=0, seen_at=now)
    pace.take(seconds, now)
    paces[key] = pace
    while len(paces) > _MOST_KINDS:
        del paces[next(iter(paces))]
