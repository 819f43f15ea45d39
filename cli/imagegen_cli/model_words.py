"""What a server knows of a model, in words and columns for people."""

import textwrap
from collections.abc import Iterator, Sequence

from imagegen_contract.images import ModelInfo

_COLUMNS = ("ID", "STATE", "DEVICE", "MEMORY", "SIZE", "STEPS", "SCHEDULER", "DETAILS")
_GAP = "  "
_NARROWEST = 24
"""Columns that the details get at least: below that they are a tower of single words."""
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def table(models: Sequence[ModelInfo], width: int | None) -> Iterator[str]:
    """Yield the lines of a table of ``models``; its last column is wrapped to a terminal of ``width`` columns."""
    rows = [_COLUMNS, *(_row(model) for model in models)]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    margin = sum(widths) + len(_GAP) * len(widths)
    for row in rows:
        first, *more = _wrapped(row[-1], width and max(_NARROWEST, width - margin))
        cells = (cell.ljust(column) for cell, column in zip(row, [*widths, 0], strict=True))
        yield _GAP.join([*list(cells)[:-1], first]).rstrip()
        yield from (" " * margin + line for line in more)


def details(model: ModelInfo) -> str:
    """Return what matters most of a model now: how far its load is, why it failed, or what it paints."""
    if model.state == "failed":
        return _plain(f"{model.reason or 'failed'}: {model.error or 'the server does not say why'}")
    if model.state == "loading" or model.stage:
        return _plain(", ".join(_progress(model)))
    return _plain(model.description) or "-"


def placed(model: ModelInfo) -> str:
    """Return where a loaded model is: ``cuda, 6.9 GB``."""
    return ", ".join(filter(None, [model.device, size_words(model.memory_bytes)]))


def size_words(count: int | None) -> str:
    """Return a number of bytes with three digits and a decimal unit, "" when it is not known."""
    if not count:
        return ""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.{0 if unit == 0 or value >= 99.95 else 1}f} {_UNITS[unit]}"


def _progress(model: ModelInfo) -> Iterator[str]:
    yield model.stage or "loading"
    if progress := model.progress:
        yield f"{progress.percent:.0f} %"
        if progress.eta_seconds is not None:
            yield f"{_duration(progress.eta_seconds)} left"
    if model.error:
        yield f"last failure: {model.error}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _row(model: ModelInfo) -> tuple[str, ...]:
    facts = (model.device, size_words(model.memory_bytes), model.size, str(model.steps), model.scheduler)
    return (_plain(model.id), _plain(model.state), *(_plain(fact or "") or "-" for fact in facts), details(model))


def _plain(text: str) -> str:
    """Return ``text`` in one line without what would move a terminal's cursor: descriptions are other people's."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _wrapped(text: str, width: int | None) -> list[str]:
    return (textwrap.wrap(text, width) if width else [text]) or [""]
