"""``file:///path/to/pipeline``: a folder on this machine."""

from pathlib import Path

from imagegen_server.sources import SourceError


class FileSource:
    """A folder that holds a diffusers pipeline. Relative paths are relative to where the server runs."""

    def fetch(self, reference: str) -> Path:
        """Return the folder; raise SourceError when it is missing, unreadable or no pipeline."""
        folder = Path(reference)
        if not folder.is_dir():
            raise SourceError(f"file://{reference}: there is no such folder")
        index = folder / "model_index.json"
        try:
            index.read_bytes()
        except FileNotFoundError:
            raise SourceError(f"file://{reference}: has no model_index.json, so it is no diffusers pipeline") from None
        except OSError as error:
            raise SourceError(f"file://{reference}: model_index.json cannot be read: {error.strerror}") from None
        return folder
