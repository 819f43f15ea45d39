"""A repository in the cache of huggingface_hub: the layout is its own, so that every tool finds the same files.

``blobs/<checksum>`` holds contents, ``snapshots/<commit>/<path>`` links to them, ``refs/<revision>`` holds a commit.
Of ours, in ``.imagegen``: a mark for each blob whose checksum was seen to be right, and what each commit holds.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from imagegen_contract.load_failures import LoadFailure
from imagegen_server.sources import SourceError

COMMIT = re.compile(r"[0-9a-f]{40}")
CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""Git's object id of a small file, SHA-256 of a large one."""

_READ_BYTES = 2**20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class HubFile(msgspec.Struct, frozen=True):
    """One file of a commit. ``size`` is None and ``checksum`` "" where nobody has announced them."""

    path: str
    size: int | None
    checksum: str


class Listing(msgspec.Struct, frozen=True):
    """The files of a commit by path. ``certain``: as the Hub said, not just what happens to be in the cache."""

    commit: str
    files: dict[str, HubFile]
    certain: bool = True


class RepositoryCache:
    """One repository (``owner/name``) in the cache folder ``root``."""

    def __init__(self, root: Path, repository: str) -> None:
        self.root = root
        self.folder = root / f"models--{repository.replace('/', '--')}"
        self._locks = root / ".locks" / self.folder.name
        self._own = self.folder / ".imagegen"

    def commit_of(self, revision: str) -> str:
        """Return the commit that a branch, tag or commit was last known to mean, "" when that is not known."""
        if COMMIT.fullmatch(revision):
            return revision
        with contextlib.suppress(OSError, UnicodeDecodeError):
            commit = (self.folder / "refs" / revision).read_text().strip()
            return commit if COMMIT.fullmatch(commit) else ""
        return ""

    def remember(self, revision: str, commit: str) -> None:
        """Note what a branch or tag means; for the next time that the Hub cannot be asked."""
        if revision != commit:
            with contextlib.suppress(OSError):
                _write(self.folder / "refs" / revision, commit.encode())

    def snapshot(self, commit: str) -> Path:
        """Return the folder of a commit."""
        return self.folder / "snapshots" / commit

    def listing(self, commit: str) -> Listing:
        """Return the files of a commit as the Hub once said, else those that are in the cache."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode((self._own / f"{commit}.json").read_bytes(), type=Listing)
        folder = self.snapshot(commit)
        paths = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        files = [HubFile(path.relative_to(folder).as_posix(), None, _checksum_of_link(path)) for path in paths]
        return Listing(commit, {file.path: file for file in files}, certain=False)

    def keep(self, listing: Listing) -> None:
        """Note what the Hub says a commit holds."""
        with contextlib.suppress(OSError):
            _write(self._own / f"{listing.commit}.json", msgspec.json.encode(listing))

    def find(self, file: HubFile, commit: str) -> Path | None:
        """Return where the whole content of a file is, None where it is not. It may still be corrupt."""
        for place in (self.snapshot(commit) / file.path, self.blob(file)):
            with contextlib.suppress(OSError):
                if place.is_file() and file.size in {None, place.stat().st_size}:
                    return place
        return None

    def blob(self, file: HubFile) -> Path:
        """Return where the content of a file belongs."""
        return self.folder / "blobs" / file.checksum

    def partial(self, file: HubFile) -> Path:
        """Return where a download is until it is whole: the same place for every try, so that it can go on there."""
        return self.folder / "blobs" / f"{file.checksum}.incomplete"

    def is_checked(self, file: HubFile, place: Path) -> bool:
        """Return whether the checksum was right, and the content has not been written to since."""
        try:
            return (self._own / f"{file.checksum}.checked").read_text() == _signature(place)
        except OSError:
            return not file.checksum  # nobody has announced one

    def mark_checked(self, file: HubFile, place: Path) -> None:
        """Note that the checksum is right. Where the cache cannot be written to, it is computed at every start."""
        with contextlib.suppress(OSError):
            _write(self._own / f"{file.checksum}.checked", _signature(place).encode())

    def link(self, file: HubFile, commit: str) -> None:
        """Put the blob of a file into the snapshot of a commit."""
        pointer, blob = self.snapshot(commit) / file.path, self.blob(file)
        if pointer.is_file():
            return
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            pointer.unlink()
        try:
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))
        except FileExistsError:  # by another process, meanwhile
            return
        except OSError:  # a file system without links
            blob.replace(pointer)

    def remove(self, file: HubFile, commit: str) -> None:
        """Remove the content of a file; raise SourceError where that is not allowed."""
        with self.errors():
            for place in (self.snapshot(commit) / file.path, self.blob(file), self._own / f"{file.checksum}.checked"):
                place.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, file: HubFile, wait: Callable[[], None]) -> Generator[None]:
        """Hold the lock of a file, that of huggingface_hub; call ``wait`` now and then while another holds it.

        The system frees it when its holder dies, however that happens.
        """
        from filelock import FileLock, Timeout  # noqa: PLC0415 - with huggingface_hub only, and that takes its time

        lock = FileLock(self._locks / f"{file.checksum}.lock", mode=0o664)
        with self.errors():
            self._locks.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with self.errors():
                    lock.acquire(timeout=0.2, poll_interval=0.05)
            except Timeout:
                wait()
            else:
                break
        try:
            yield
        finally:
            lock.release()

    def prepare(self, missing_bytes: int, margin_bytes: int) -> None:
        """Raise SourceError when the cache cannot be written to, or has no room for that many more bytes."""
        with self.errors():
            (self.folder / "blobs").mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        if missing_bytes + margin_bytes > free:
            raise SourceError(
                f"the disk has no room: the download needs {_mb(missing_bytes)} MB and {_mb(margin_bytes)} MB to "
                f"spare, {_mb(free)} MB are free in {self.root}; make room there, or set hub_cache to another place",
                LoadFailure.DISK_FULL,
            )

    @contextlib.contextmanager
    def errors(self) -> Generator[None]:
        """Turn what the system says about the cache into a SourceError."""
        try:
            yield
        except TimeoutError:  # of a lock; an OSError too
            raise
        except OSError as error:
            what = "is full" if error.errno in _NO_ROOM else f"cannot be written to: {error.strerror or error}"
            raise SourceError(
                f"the cache {self.root} {what}; make room or mend its permissions, or set hub_cache to another place",
                LoadFailure.DISK_FULL,
            ) from None


class Checksum:
    """The checksum of a file that is ``size`` bytes long, by the kind of the announced one."""

    def __init__(self, announced: str, size: int) -> None:
        self._announced = announced
        is_git = len(announced) == hashlib.sha1(usedforsecurity=False).digest_size * 2
        # Git's id is over a header too. SHA-1 guards against accidents here, as in git.
        self._hash = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if is_git else hashlib.sha256()

    def update(self, content: bytes) -> None:
        """Take the next bytes in."""
        self._hash.update(content)

    def read(self, place: Path, wait: Callable[[], None]) -> None:
        """Take a file in; ``wait`` is called now and then and may raise."""
        with place.open("rb") as file:
            while content := file.read(_READ_BYTES):
                self.update(content)
                wait()

    @property
    def right(self) -> bool:
        """Whether it is the announced one."""
        return self._hash.hexdigest() == self._announced


def _checksum_of_link(path: Path) -> str:
    """Return the checksum in the name of the blob that a link of a snapshot leads to, "" when it is no link."""
    name = path.resolve().name
    return name if CHECKSUM.fullmatch(name) else ""


def _signature(place: Path) -> str:
    stat = place.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _write(place: Path, content: bytes) -> None:
    """Write a small file so that nobody ever sees half of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}.new")
    fresh.write_bytes(content)
    fresh.replace(place)


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f}"
