"""Pure: which files of a repository a pipeline is loaded from, told from their names and from model_index.json.

Repositories hold every model several times: pickled, for other frameworks, in 16 and 32 bit, as one file, with and
without averaged weights (EMA). One set of safetensors files is enough.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import VARIANTS, SourceError

INDEX = "model_index.json"
"""What makes a repository a pipeline: the class of the pipeline, and library and class of each component."""

HALF = "fp16"

_SAFETY = frozenset({"safety_checker", "feature_extractor"})
"""The components that only the safety checker of Stable Diffusion needs."""
_WITHOUT_WEIGHTS = re.compile(r".*(Tokenizer|Scheduler|Processor|Extractor)(Fast)?")
_WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(?:\.(?P<early>\w+))?"
    r"(?:-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?(?:\.(?P<late>\w+))?\.safetensors"
)
"""Names that diffusers and transformers load by themselves; the variant of a shard stood at the end once."""
_SHARD_INDEX = re.compile(r".*\.index(\.\w+)?\.json")
_TEXT = (".json", ".txt")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_SHOWN = 5


class Choice(msgspec.Struct, frozen=True):
    """The files to take, by path, and ``fp16`` when some of the weights are of that variant."""

    files: tuple[str, ...]
    variant: str = ""


def choose(files: Collection[str], index: Mapping[str, Any], *, half: bool, safety_checker: bool) -> Choice:
    """Return the files of a pipeline: configuration, tokenizers, one set of weights for each component.

    With ``half`` a component's weights are of the variant fp16 where it has that, else plain; without it is the other
    way round, and other variants are taken where there is neither. Raises SourceError for repositories with code of
    their own, and where a component has no such weights.
    """
    chosen = list(configuration(files, index, safety_checker=safety_checker))
    variants: set[str] = set()
    for name, (library, class_name) in components(index, safety_checker=safety_checker).items():
        if not _WITHOUT_WEIGHTS.fullmatch(class_name):
            stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
            variant, weights = _weights(_inside(files, name), name, stem, half=half)
            variants.add(variant)
            chosen += [f"{name}/{file}" for file in weights]
    return Choice(tuple(sorted(chosen)), HALF if HALF in variants else "")


def configuration(files: Collection[str], index: Mapping[str, Any], *, safety_checker: bool = False) -> tuple[str, ...]:
    """Return the files of a pipeline without its weights: JSON and text of its components."""
    chosen = [INDEX]
    for name, (library, _) in components(index, safety_checker=safety_checker).items():
        inside = _inside(files, name)
        if not inside:
            raise SourceError(f"{INDEX} names a component {name}, but there are no files of it")
        _check_no_code(files, name, library)
        chosen += [f"{name}/{file}" for file in inside if file.endswith(_TEXT) and not _SHARD_INDEX.fullmatch(file)]
    return tuple(chosen)


def components(index: Mapping[str, Any], *, safety_checker: bool) -> dict[str, tuple[str, str]]:
    """Return library and class of each component that is wanted; raise SourceError for an index that is none."""
    class_name = index.get("_class_name")
    if isinstance(class_name, list):
        raise SourceError(
            f"{INDEX} names a pipeline of the repository's own ({shown(cast('list[object]', class_name))}), "
            "which is code of others and never run",
            LoadFailure.UNSAFE_WEIGHTS,
        )
    if not isinstance(class_name, str):
        raise SourceError(f"{INDEX} names no pipeline class (_class_name)", LoadFailure.WEIGHTS_INVALID)
    unwanted = frozenset[str]() if safety_checker or not _present(index.get("safety_checker")) else _SAFETY
    return {
        name: (str(entry[0]), str(entry[1]))
        for name, entry in index.items()
        if not name.startswith("_") and name not in unwanted and _present(entry)
    }


def no_pipeline(files: Collection[str]) -> str:
    """Return in words what a repository without an index lacks, and what else of it could be loaded."""
    single = sorted(file for file in files if "/" not in file and file.endswith(".safetensors"))
    hint = f"; its single-file checkpoints can be named in the source: {shown(single)}" if single else ""
    return f"holds no diffusers pipeline: that needs {INDEX} and a folder for each component it names{hint}"


def weights_in(files: Iterable[str]) -> frozenset[str]:
    """Return those of ``files`` that hold tensors."""
    return frozenset(file for file in files if file.endswith(".safetensors"))


def shown(names: Sequence[object]) -> str:
    """Return the first few of ``names``, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more if names else "nothing"


def _present(entry: object) -> bool:
    """Return whether an entry of the index is a component that is there: library and class, not two nulls."""
    if not isinstance(entry, list):
        return False
    parts = cast("list[object]", entry)
    return len(parts) == 2 and all(isinstance(part, str) for part in parts)


def _inside(files: Collection[str], component: str) -> list[str]:
    """Return the names of the files directly in the folder of a component."""
    found = (file.removeprefix(f"{component}/") for file in files if file.startswith(f"{component}/"))
    return sorted(name for name in found if "/" not in name)


def _check_no_code(files: Collection[str], component: str, library: str) -> None:
    """Raise SourceError when the library of a component is a Python file of the repository."""
    for file in (f"{component}/{library}.py", f"{library}.py"):
        if file in files:
            raise SourceError(
                f"component {component} needs code of the repository's own ({file}), which is never run",
                LoadFailure.UNSAFE_WEIGHTS,
            )


def _weights(names: list[str], component: str, stem: str, *, half: bool) -> tuple[str, list[str]]:
    """Return variant and files of the weights of a component, which has the files ``names``."""
    for variant in dict.fromkeys((HALF, "", *VARIANTS) if half else ("", *VARIANTS)):
        if found := _whole_set(names, stem, variant):
            return variant, found
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles:
        raise SourceError(
            f"component {component} has only pickled weights ({shown(pickles)}), which are never opened because they "
            "can run code; needed are safetensors files",
            LoadFailure.UNSAFE_WEIGHTS,
        )
    raise SourceError(f"component {component} has no {stem}.safetensors; it has {shown(names)}")


def _whole_set(names: list[str], stem: str, variant: str) -> list[str]:
    """Return one file, or all shards and their index; nothing when there are none or some lack."""
    matches = [match for match in map(_WEIGHTS.fullmatch, names) if match and match["stem"] == stem]
    matches = [match for match in matches if (match["early"] or match["late"] or "") == variant]
    whole = [match.string for match in matches if not match["shard"]]
    if whole:
        return whole[:1]
    shards = sorted(match.string for match in matches)
    index = f"{stem}.safetensors.index{f'.{variant}' if variant else ''}.json"
    announced = int(matches[0]["shards"]) if matches else 0
    return [*shards, index] if matches and len(shards) == announced and index in names else []
