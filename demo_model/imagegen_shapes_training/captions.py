"""Says in words what a composition holds: many ways to ask for the same picture.

A caption may leave an attribute out (the picture then teaches nothing wrong, only less), may be wrapped in words that
mean nothing here ("a photo of", ", 4k"), and may hold unknown words, which must be harmless.
"""

import random
import re
from collections.abc import Sequence

from imagegen_shapes_training.compositions import COLOURS, NAMES, POSITIONS, SIZES, Composition
from imagegen_shapes_training.drawing import Figure

SYNONYMS = {
    "circle": ("disc", "ball"),
    "square": ("box",),
    "ring": ("donut",),
    "cross": ("plus",),
    "diamond": ("rhombus",),
    "moon": ("crescent",),
    "small": ("tiny", "little"),
    "large": ("big", "huge"),
}

DROPPED_COLOUR = 0.07
DROPPED_SHAPE = 0.035
DROPPED_IN_PAIRS = 0.02
UNKNOWN_WORDS = 0.10
"""Shares of captions: without the colour, the shape, either of them in a pair; with unknown words."""

_NOTHING = ("",)
_BEFORE = (
    _NOTHING * 6
    + ("a picture of ", "a photo of ", "a drawing of ")
    + ("an image of ", "an illustration of ", "a painting of ")
)
_AFTER = (
    _NOTHING * 8
    + (", high quality", ", best quality", ", highly detailed", ", 4k")
    + (", minimalist", ", simple", ", vector art", ", masterpiece")
)
_GROUNDS = (
    (" on {a} background",) * 5
    + (" on {plain}", ", {plain} background")
    + (" with {a} background", " over {a} background", " in front of {a} background")
)
_EMPTY = ("{a} background", "a plain {plain} background", "an empty {plain} background", "nothing on {a} background")
_BESIDE = (" and ",) * 3 + (" next to ", " beside ", " to the left of ", " left of ")
_BESIDE_SWAPPED = (" to the right of ", " right of ")
_ABOVE = (" above ", " on top of ", " over ")
_ABOVE_SWAPPED = (" below ", " under ", " beneath ")


def caption(composition: Composition, unknown: Sequence[str], lots: random.Random) -> str:
    """Return one of the many captions of ``composition``; ``unknown`` are words that mean nothing in these pictures."""
    said = lots.choice(_BEFORE) + _content(composition, lots) + lots.choice(_AFTER)
    if lots.random() < UNKNOWN_WORDS:
        noise = " ".join(lots.choices(unknown, k=lots.randint(1, 5)))
        said = lots.choice((f"{noise} {said}", f"{said}, {noise}", noise))
    return f"{said.capitalize()}." if lots.random() < 0.05 else said


def with_article(words: str) -> str:
    """Return ``words`` after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _content(composition: Composition, lots: random.Random) -> str:
    if not composition.figures:
        return _ground(composition, _EMPTY, lots)
    if len(composition.figures) == 2:
        return _pair(composition, lots)
    return _single(composition, lots)


def _ground(composition: Composition, templates: Sequence[str], lots: random.Random) -> str:
    colour = composition.background
    return lots.choice(templates).format(a=with_article(colour), plain=colour)


def _single(composition: Composition, lots: random.Random) -> str:
    noun = _noun(composition.figures[0], composition.size, (DROPPED_COLOUR, DROPPED_SHAPE), lots)
    said = with_article(noun) if lots.random() < 0.85 else noun
    place = _place(composition.position, lots)
    ground = _ground(composition, _GROUNDS, lots) if lots.random() < 0.93 else ""
    if place and lots.random() < 0.35:
        return f"{said}{ground}{',' if ground.startswith(',') else ''}{place}"
    return said + place + ground


def _pair(composition: Composition, lots: random.Random) -> str:
    nouns = [
        with_article(_noun(figure, None, (DROPPED_IN_PAIRS, DROPPED_IN_PAIRS / 2), lots))
        for figure in composition.figures
    ]
    swapped = lots.random() < 0.3
    if composition.position == "left":
        relation = lots.choice(_BESIDE_SWAPPED if swapped else _BESIDE)
    else:
        relation = lots.choice(_ABOVE_SWAPPED if swapped else _ABOVE)
    ground = _ground(composition, _GROUNDS, lots) if lots.random() < 0.92 else ""
    return relation.join(reversed(nouns) if swapped else nouns) + ground


def _noun(figure: Figure, size: str | None, dropped: tuple[float, float], lots: random.Random) -> str:
    """Return size, colour and shape; ``dropped`` are the chances that the colour and the shape stay unsaid."""
    words = [_word(size, lots)] if size else []
    if lots.random() >= dropped[0]:
        words.append(figure.colour)
    words.append(_word(figure.shape, lots) if lots.random() >= dropped[1] else "shape")
    return " ".join(words)


def _word(word: str, lots: random.Random) -> str:
    others = SYNONYMS.get(word, ())
    return lots.choice(others) if others and lots.random() < 0.3 else word


def _place(position: str, lots: random.Random) -> str:
    if position == "center":
        named = lots.random() < 0.12
        return lots.choice((" in the center", " in the middle", " at the center")) if named else ""
    kind = "corner" if " " in position else "side"
    preposition = "in" if kind == "corner" else "on"
    return lots.choice(
        (f" at the {position}", f" in the {position}", f" on the {position}", f" {preposition} the {position} {kind}")
    )


def said_words() -> frozenset[str]:
    """Return every word that a caption may hold apart from the unknown ones."""
    tables = (*COLOURS, *NAMES, *POSITIONS, *SIZES, *_BEFORE, *_AFTER, *_GROUNDS, *_EMPTY)
    relations = (*_BESIDE, *_BESIDE_SWAPPED, *_ABOVE, *_ABOVE_SWAPPED)
    synonyms = (word for words in SYNONYMS.values() for word in words)
    text = " ".join((*tables, *relations, *synonyms, "in the middle at on corner side shape a an"))
    return frozenset(re.findall(r"\w+", text))
