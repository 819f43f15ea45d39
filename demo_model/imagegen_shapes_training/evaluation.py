"""How often the finished model paints what it is asked for, and whether that is enough."""

from collections.abc import Sequence
from dataclasses import dataclass

from imagegen_shapes_training.adherence import classify, random_scenes
from imagegen_shapes_training.painter import Painter
from imagegen_shapes_training.recipe import Thresholds

_SEED = 77
_ASPECTS = ("background", "colour", "shape")


@dataclass(frozen=True)
class Setting:
    """Side of the pictures and steps of the sampler."""

    pixels: int
    steps: int


@dataclass(frozen=True)
class Score:
    """Share, in percent, of prompts whose background, colour and shape are right."""

    model: str
    setting: Setting
    prompts: int
    background: float
    colour: float
    shape: float

    def shortfalls(self, least: Thresholds) -> list[str]:
        """Return a sentence for each aspect that is below its threshold."""
        return [
            f"{self.model}, {self.setting.pixels} px: {aspect} is right in {getattr(self, aspect):.0f} % of "
            f"{self.prompts} pictures, at least {getattr(least, aspect)} % are wanted"
            for aspect in _ASPECTS
            if getattr(self, aspect) < getattr(least, aspect)
        ]


def score(model: str, painter: Painter, setting: Setting, prompts: int) -> Score:
    """Paint ``prompts`` random scenes, the same ones every time, and look at them."""
    scenes = random_scenes(_SEED, prompts)
    pictures = painter.paint([scene.prompt for scene in scenes], setting.pixels, setting.steps)
    pairs = [(scene, classify(picture)) for scene, picture in zip(scenes, pictures, strict=True)]
    right = {
        aspect: 100 * sum(getattr(scene, aspect) == getattr(seen, aspect) for scene, seen in pairs) / prompts
        for aspect in _ASPECTS
    }
    return Score(model=model, setting=setting, prompts=prompts, **right)


def table(scores: Sequence[Score]) -> str:
    """Return the scores as lines of text."""
    head = f"{'model':<12}{'pixels':>7}{'steps':>6}{'prompts':>8}{'background %':>14}{'colour %':>10}{'shape %':>9}"
    rows = [
        f"{row.model:<12}{row.setting.pixels:>7}{row.setting.steps:>6}{row.prompts:>8}"
        f"{row.background:>14.0f}{row.colour:>10.0f}{row.shape:>9.0f}"
        for row in scores
    ]
    return "\n".join((head, *rows))
