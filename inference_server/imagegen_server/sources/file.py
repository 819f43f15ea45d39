"""``file:///path``: the folder of a pipeline, or a single-file checkpoint, on this machine."""

from pathlib import Path

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import Report, SourceError, Wanted, Weights
from imagegen_server.sources.checkpoints import FetchConfig, config_folder

_HALF = "fp16"
_PICKLES = {".ckpt", ".pt", ".pth", ".bin"}


class FileSource:
    """Weights that are there already. Relative paths are relative to where the server runs.

    ``fetch_config`` is asked for the configuration of a single-file checkpoint that is on the Hub.
    """

    def __init__(self, fetch_config: FetchConfig) -> None:
        self._fetch_config = fetch_config

    def fetch(self, wanted: Wanted, report: Report) -> Weights:
        """Return the weights; raise SourceError when they are missing, unreadable or no model."""
        del report  # nothing is fetched but a configuration of a few hundred kB
        path = Path(wanted.reference)
        try:
            if path.is_file():
                _check_is_safetensors(path)
                return Weights(path=path, config=config_folder(path, wanted, self._fetch_config))
            _check_is_pipeline(path)
            return Weights(path=path, variant=_variant(path, half=wanted.half))
        except OSError as error:
            raise SourceError(f"file://{path}: cannot be read: {error.strerror}") from None


def _check_is_safetensors(path: Path) -> None:
    if path.suffix in _PICKLES:
        raise SourceError(
            f"file://{path}: is a pickle, which is never opened because it can run code; convert it to safetensors",
            LoadFailure.UNSAFE_WEIGHTS,
        )
    if path.suffix != ".safetensors":
        message = f"file://{path}: is neither a folder nor a .safetensors file"
        raise SourceError(message, LoadFailure.WEIGHTS_INVALID)


def _check_is_pipeline(folder: Path) -> None:
    if not folder.is_dir():
        raise SourceError(f"file://{folder}: there is no such folder or file")
    try:
        (folder / "model_index.json").read_bytes()
    except FileNotFoundError:
        hint = _checkpoint_hint(folder)
        raise SourceError(f"file://{folder}: has no model_index.json, so it is no diffusers pipeline{hint}") from None
    except OSError as error:
        raise SourceError(f"file://{folder}: model_index.json cannot be read: {error.strerror}") from None


def _checkpoint_hint(folder: Path) -> str:
    files = sorted(folder.glob("*.safetensors"))
    return f"; a single-file checkpoint is given by its own path, as file://{files[0]}" if files else ""


def _variant(folder: Path, *, half: bool) -> str:
    """Return which of the pipeline's files to take: the 16-bit ones where they are wanted, or the only ones."""
    files = {path.name for path in folder.glob("*/*.safetensors")}
    halves = {name for name in files if f".{_HALF}" in name}
    return _HALF if halves and (half or halves == files) else ""
