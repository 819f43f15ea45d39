"""models_info.json while the server runs: an edit is picked up within a second, a bad one changes nothing."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from imagegen_contract.catalog import CatalogError, load_catalog
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.server_status import CatalogStatus
from imagegen_web.followed_file import LOOK_SECONDS, FollowedFile

_LOG = logging.getLogger(__name__)


class CatalogFile:
    """Follows one catalog. ``accept`` gets each new list of models; it raises CatalogError to refuse one."""

    def __init__(self, path: Path, accept: Callable[[Sequence[ImageModelSpec]], None]) -> None:
        self._path = path
        self._accept = accept
        self._file = FollowedFile(path)
        self._error = ""

    @property
    def status(self) -> CatalogStatus:
        """Which file it is, and why its last edit was refused."""
        return CatalogStatus(file=str(self._path), error=self._error)

    async def follow(self) -> None:
        """Look for edits until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take the file in if it has changed, and not since the last look: then it may be half written."""
        if not self._file.edited():
            return
        try:
            specs = load_catalog(self._path)
            self._accept(specs)
        except CatalogError as error:
            self._error = str(error)
            _LOG.error("the catalog's edit is refused, the one before stays", extra={"problems": list(error.problems)})
        else:
            self._error = ""
            _LOG.info("catalog read again", extra={"file": str(self._path), "models": len(specs)})
