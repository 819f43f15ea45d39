"""models_info.json: a JSON list of ImageModel specs; loading, checking, and finding a model by any of its names.

Every problem of a file is reported at once, each with file, entry, field, what was found and what is allowed.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from imagegen_contract.image_model import Gpu, ImageModelSpec, Inference, Quality, last_segment
from imagegen_contract.validation import shown, value_at, violation


class CatalogError(ValueError):
    """A catalog that cannot be used; the message lists every problem, one a line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class UnknownModelError(LookupError):
    """No model has this name. ``near`` holds the names that look most like it."""

    def __init__(self, name: str, near: Sequence[str]) -> None:
        super().__init__(name)
        self.name = name
        self.near = tuple(near)


def load_catalog(path: Path) -> tuple[ImageModelSpec, ...]:
    """Read the catalog at ``path``; raise CatalogError when it is missing, unreadable or wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogError([f"{path}: cannot be read: {error.strerror}"]) from None
    return parse_catalog(content, str(path))


def parse_catalog(content: bytes, where: str) -> tuple[ImageModelSpec, ...]:
    """Decode a catalog; ``where`` names it in errors. Raise CatalogError with every problem found."""
    try:
        raw = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise CatalogError([f"{where}: not JSON: {error}"]) from None
    if not isinstance(raw, list):
        raise CatalogError([f"{where}: found {_kind(raw)}, allowed is a JSON list of model entries"])
    entries: list[object] = list(raw)  # pyright: ignore[reportUnknownArgumentType] - any JSON may stand here
    specs: list[ImageModelSpec] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, start=1):
        try:
            specs.append(msgspec.convert(entry, ImageModelSpec))
        except msgspec.ValidationError as error:
            problems.append(f"{where}: entry {number}{_named(entry)}: {_explain(entry, error)}")
    problems += [f"{where}: {problem}" for problem in duplicate_names(specs)]
    if problems:
        raise CatalogError(problems)
    return tuple(specs)


def duplicate_names(specs: Sequence[ImageModelSpec]) -> list[str]:
    """Return a sentence for each id or alias that two entries claim."""
    owners: dict[str, str] = {}
    problems: list[str] = []
    for spec in specs:
        for name in (spec.id, *spec.aliases):
            if name in owners:
                problems.append(f"field id or aliases: {shown(name)} is claimed by {owners[name]} and by {spec.id}")
            owners.setdefault(name, spec.id)
    return problems


def resolve(name: str, specs: Iterable[ImageModelSpec]) -> ImageModelSpec:
    """Return the model that ``name`` means; raise UnknownModelError with near names when none or several do.

    In this order: an id or alias; the last segment of one id only; the only match of these when case is ignored.
    """
    known = tuple(specs)
    for match in (_exactly, _ignoring_case):
        found = match(name, known)
        if found is not None:
            return found
    raise UnknownModelError(name, _near(name, known))


def _exactly(name: str, specs: Sequence[ImageModelSpec]) -> ImageModelSpec | None:
    for spec in specs:
        if name == spec.id or name in spec.aliases:
            return spec
    return _only(spec for spec in specs if name == last_segment(spec.id))


def _ignoring_case(name: str, specs: Sequence[ImageModelSpec]) -> ImageModelSpec | None:
    fold: Callable[[str], str] = str.casefold
    return _only(spec for spec in specs if fold(name) in map(fold, (spec.id, *spec.aliases, last_segment(spec.id))))


def _only(specs: Iterable[ImageModelSpec]) -> ImageModelSpec | None:
    found = list(specs)
    return found[0] if len(found) == 1 else None


def _near(name: str, specs: Sequence[ImageModelSpec]) -> list[str]:
    by_fold = {known.casefold(): spec.id for spec in specs for known in (last_segment(spec.id), *spec.aliases, spec.id)}
    close = difflib.get_close_matches(name[:200].casefold(), by_fold, n=3, cutoff=0.5)
    return list(dict.fromkeys(by_fold[fold] for fold in close))


def _explain(entry: object, error: msgspec.ValidationError) -> str:
    broken = violation(error)
    if broken.kind == "unknown":
        return f"field {broken.path}: unknown; {_allowed_fields(broken.path)}"
    if broken.kind == "missing":
        return f"field {broken.path}: missing, and it is required"
    if not broken.path:
        return broken.rule
    return f"field {broken.path}: found {shown(value_at(entry, broken.path))}; {broken.rule}"


_STRUCTS = {"": ImageModelSpec, "inference": Inference, "inference.quality": Quality, "gpu": Gpu}


def _allowed_fields(path: str) -> str:
    parent, _, field = path.rpartition(".")
    names = [known.encode_name for known in msgspec.structs.fields(_STRUCTS[parent])]
    near = difflib.get_close_matches(field, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def _named(entry: object) -> str:
    identity = value_at(entry, "id")
    return f" ({identity})" if isinstance(identity, str) else ""


def _kind(value: object) -> str:
    return {dict: "an object", str: "a string", type(None): "null"}.get(type(value), "a scalar")
