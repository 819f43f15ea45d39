"""What a model's pictures cost in device seconds: measured by servers, told in `/status`, read by routers. Pure.

What was not measured is derived from what was:

1. The same size with another number of rows in a call: the nearest number, row for row.
2. Another size, or with guidance instead of without: by pixels times the UNet's rows, of which guidance has two.
   Between two sizes on the line through both. Beyond all of them on the line through the smallest and the largest where
   these are so far apart that noise cannot tilt it, else in proportion to the nearest, an overhead included: whatever
   the size, an evaluation reads all weights of the UNet.
"""

from collections.abc import Mapping

import msgspec

_FAR_APART = 4.0
"""Sizes whose works differ by as much make a line that can be trusted beyond them: with an error of a fifth in one of
them it is a quarter off at four times the larger."""

_OVERHEAD = 128 * 128
"""Pixels in whose time an evaluation could read the weights, until two sizes tell. From 64x64 to 512x512, guided, it
makes 22 times out of 64; Stable Diffusion 1.4 takes about 26 times on two cores."""


class EvaluationCost(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that one picture of a size takes of an evaluation that ``rows`` pictures share."""

    pixels: int
    guided: bool
    rows: int
    seconds: float


class DecodeCost(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of decoding one picture of a size."""

    pixels: int
    seconds: float


class ModelCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one model."""

    model: str
    evaluations: tuple[EvaluationCost, ...] = ()
    decodes: tuple[DecodeCost, ...] = ()

    def evaluation(self, pixels: int, rows: int, *, guided: bool) -> float | None:
        """Return the seconds of one picture's evaluation in a call of ``rows``, None when nothing was measured."""
        nearest: dict[tuple[int, bool], EvaluationCost] = {}
        for cost in self.evaluations:
            kind = cost.pixels, cost.guided
            if kind not in nearest or abs(cost.rows - rows) < abs(nearest[kind].rows - rows):
                nearest[kind] = cost
        if (pixels, guided) in nearest:
            return nearest[pixels, guided].seconds
        known = {_work(*kind): cost.seconds for kind, cost in nearest.items()}
        return _derived(known, _work(pixels, guided), _OVERHEAD)

    def decode(self, pixels: int) -> float | None:
        """Return the seconds of decoding one picture, None when nothing was measured.

        Where no decoding was seen yet it is taken for a guided evaluation, which is of its order.
        """
        if not self.decodes:
            return self.evaluation(pixels, 1, guided=True)
        return _derived({cost.pixels: cost.seconds for cost in self.decodes}, pixels, 0)

    def picture(self, pixels: int, evaluations: int, rows: int, *, guided: bool) -> float | None:
        """Return the seconds of one of ``rows`` pictures, None when nothing was measured."""
        evaluation, decode = self.evaluation(pixels, rows, guided=guided), self.decode(pixels)
        return None if evaluation is None or decode is None else evaluations * evaluation + decode


def _work(pixels: int, guided: bool) -> int:
    return pixels * (2 if guided else 1)


def _derived(known: Mapping[int, float], work: int, overhead: int) -> float | None:
    """Return the seconds of so much work, by what is known of other amounts."""
    if not known or work in known:
        return known.get(work)
    below, above = [each for each in known if each < work], [each for each in known if each > work]
    if below and above:
        return _on_line((max(below), known[max(below)]), (min(above), known[min(above)]), work)
    least, most = min(known), max(known)
    nearest = most if below else least
    proportional = known[nearest] * (work + overhead) / (nearest + overhead)
    if most < _FAR_APART * least:
        return proportional
    line = _on_line((least, known[least]), (most, known[most]), work)
    # More work takes no less, and less work no less than its share.
    return max(line, known[most]) if below else max(line, known[least] * work / least)


def _on_line(first: tuple[int, float], second: tuple[int, float], work: int) -> float:
    slope = (second[1] - first[1]) / (second[0] - first[0])
    return first[1] + slope * (work - first[0])
