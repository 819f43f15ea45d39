"""models_info.json: a JSON list of ImageModel specs; loading, checking, and finding a model by any of its names.

Every problem of a file is reported at once, each with file, entry, field, what was found and what is allowed.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from imagegen_contract.edited_text import REPEATED, FileError, TextError, json_text, read_file, repeated_names
from imagegen_contract.image_model import ImageModelSpec, last_segment
from imagegen_contract.validation import Violation, shown, value_at, violation, violations

_ALLOWED_FILE = "allowed: a JSON list of model entries"
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for bytes that are no JSON, too deep, or not UTF-8."""


class CatalogError(ValueError):
    """A catalog that cannot be used; the message lists every problem, one a line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class UnknownModelError(LookupError):
    """No model has this name. ``near`` holds the ids that look most like it, the message these or all there are."""

    def __init__(self, name: str, near: Sequence[str], known: Sequence[str] = ()) -> None:
        hint = "did you mean" if near else "models here"
        super().__init__(f"model {name[:128]!r} does not exist; {hint}: {', '.join(near or known)}")
        self.name = name
        self.near = tuple(near)


def load_catalog(path: Path) -> tuple[ImageModelSpec, ...]:
    """Read the catalog at ``path``; raise CatalogError when it is missing, unreadable or wrong."""
    try:
        content = read_file(path)
    except FileError as error:
        raise CatalogError([f"{path}: {error}"]) from None
    return parse_catalog(content, str(path))


def parse_catalog(content: bytes, where: str) -> tuple[ImageModelSpec, ...]:
    """Decode a catalog; ``where`` names it in errors. Raise CatalogError with every problem found."""
    raw_entries = _raw_entries(content, where)
    checked = [(entry, _problems(entry)) for entry in map(_decoded, raw_entries)]
    specs = [None if broken else msgspec.convert(entry, ImageModelSpec) for entry, broken in checked]
    found = [(index, problem) for index, (_, broken) in enumerate(checked) for problem in broken]
    found += _taken_names(specs)
    if found:
        found.sort(key=lambda place: place[0])
        raise CatalogError([f"{where}: entry {i + 1}{_named(raw_entries[i])}: {problem}" for i, problem in found])
    return tuple(spec for spec in specs if spec)


def duplicate_names(specs: Sequence[ImageModelSpec]) -> list[str]:
    """Return a sentence for each id or alias that two entries claim."""
    return [f"{specs[index].id}: {problem}" for index, problem in _taken_names(specs)]


def resolve(name: str, specs: Iterable[ImageModelSpec]) -> ImageModelSpec:
    """Return the model that ``name`` means; raise UnknownModelError with near names when none or several do.

    In this order: an id or alias; the last segment of one id only; the only match of these when case is ignored.
    """
    known = tuple(specs)
    for candidates in (_exactly(name, known), _ignoring_case(name, known)):
        if len(candidates) == 1:
            return candidates[0]
    raise UnknownModelError(name, _near(name, known), [spec.id for spec in known])


def _exactly(name: str, specs: Sequence[ImageModelSpec]) -> Sequence[ImageModelSpec]:
    named = [spec for spec in specs if name == spec.id or name in spec.aliases]
    return named[:1] or [spec for spec in specs if name == last_segment(spec.id)]


def _ignoring_case(name: str, specs: Sequence[ImageModelSpec]) -> Sequence[ImageModelSpec]:
    fold = name.casefold()
    return [spec for spec in specs if fold in (known.casefold() for known in _names(spec))]


def _names(spec: ImageModelSpec) -> tuple[str, ...]:
    return (spec.id, *spec.aliases, last_segment(spec.id))


def _near(name: str, specs: Sequence[ImageModelSpec]) -> list[str]:
    """Return the ids that ``name`` could mean: all that it fits when it is ambiguous, then up to three lookalikes."""
    by_fold = {known.casefold(): spec.id for spec in specs for known in reversed(_names(spec))}
    close = difflib.get_close_matches(name[:200].casefold(), by_fold, n=3, cutoff=0.5)
    return list(dict.fromkeys([*(spec.id for spec in _ignoring_case(name, specs)), *(by_fold[fold] for fold in close)]))


def _raw_entries(content: bytes, where: str) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(json_text(content), type=list[msgspec.Raw])
    except TextError as error:
        raise CatalogError([f"{where}: {error}; {_ALLOWED_FILE}"]) from None
    except msgspec.ValidationError as error:
        raise CatalogError([f"{where}: {violation(error).rule}; {_ALLOWED_FILE}"]) from None


def _decoded(raw: msgspec.Raw) -> object:
    """Return the entry; a Violation in its place when it holds what no entry can, such as a number beyond all range."""
    try:
        entry: object = msgspec.json.decode(raw)
        repeated = next(repeated_names(bytes(raw).decode()), None)
    except msgspec.ValidationError:
        return _out_of_range(raw)
    except (*_UNREADABLE, ValueError) as error:
        return Violation(path="", rule=f"not JSON: {error}")
    return Violation(path=repeated, rule=REPEATED) if repeated else entry


def _out_of_range(raw: msgspec.Raw) -> Violation:
    try:
        msgspec.json.decode(raw, type=ImageModelSpec)  # the same error, now with the path of a field
    except msgspec.ValidationError as error:
        return violation(error, ImageModelSpec)
    return Violation(path="", rule="a number is out of range")


def _problems(entry: object) -> list[str]:
    if isinstance(entry, Violation):
        return [f"field {entry.path}: {entry.rule}" if entry.path else entry.rule]
    return [_sentence(entry, broken) for broken in violations(entry, ImageModelSpec)]


def _sentence(entry: object, broken: Violation) -> str:
    if not broken.path:
        return broken.rule
    found = f"found {shown(value_at(entry, broken.path))}; " if broken.kind == "invalid" else ""
    return f"field {broken.path}: {found}{broken.rule}"


def _taken_names(specs: Sequence[ImageModelSpec | None]) -> Iterator[tuple[int, str]]:
    """Yield (index, problem) for each name of a model that one before it, or the model itself, has already."""
    owners: dict[str, str] = {}
    for index, spec in enumerate(specs):
        names = [("id", spec.id), *((f"aliases[{i}]", alias) for i, alias in enumerate(spec.aliases))] if spec else []
        for field, name in names:
            if name in owners:
                rule = f"a name of {owners[name]} already; allowed: a name that no other model has"
                yield index, f"field {field}: found {shown(name)}, {rule}"
            owners.setdefault(name, spec.id if spec else "")


class _Identity(msgspec.Struct, frozen=True):
    id: str = ""


def _named(raw: msgspec.Raw) -> str:
    """Return the entry's id in brackets, "" when not even that can be read."""
    try:
        identity = msgspec.json.decode(raw, type=_Identity).id
    except _UNREADABLE:
        return ""
    return f" ({identity})" if identity else ""
