"""What people paste to name a model of the Hugging Face Hub: an id, an ``hf://`` source, a link out of the browser."""

import re
from urllib.parse import unquote, urlsplit

import msgspec

from imagegen_cli.command import UsageError

HUB = "https://huggingface.co"

_ALLOWED = f"allowed: owner/name, owner/name/FILE.safetensors, hf://owner/name or {HUB}/owner/name"
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PICKLES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")
_FILE_VIEWS = {"blob", "resolve", "raw"}
_HUB_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
_OTHER_KINDS = {"datasets", "spaces", "collections", "papers", "docs"}


class HubReference(msgspec.Struct, frozen=True, kw_only=True):
    """A repository, one checkpoint in it ("" for the pipeline that the repository is), a revision ("" for the main)."""

    repository: str
    file: str = ""
    revision: str = ""

    @property
    def source(self) -> str:
        """The source of an entry."""
        return f"hf://{self.repository}/{self.file}" if self.file else f"hf://{self.repository}"


def parse_reference(text: str, endpoint: str | None = None) -> HubReference:
    """Read what was pasted; links may lead to the Hub or to ``endpoint``. Raise UsageError when it is none of these."""
    path, revision = text.removeprefix("hf://"), ""
    if "://" in path:
        path, revision = _of_link(path, endpoint)
    owner, name, file = [*path.strip("/").split("/", 2), "", ""][:3]
    if not (_SEGMENT.fullmatch(owner) and _SEGMENT.fullmatch(name)) or ".." in file.split("/"):
        raise UsageError(f"{text!r} names no model of the Hub; {_ALLOWED}")
    if file.lower().endswith(_PICKLES):
        raise UsageError(
            f"{file} is a pickle, which can run code when it is opened; only .safetensors files are loaded"
        )
    if file and not file.endswith(".safetensors"):
        raise UsageError(f"{file!r} is no .safetensors file; {_ALLOWED}")
    return HubReference(repository=f"{owner}/{name}", file=file, revision=revision)


def _of_link(link: str, endpoint: str | None) -> tuple[str, str]:
    """Return (path as in a source, revision) of a link: ``/owner/name[/tree/REV | /blob/REV/FILE]``."""
    try:
        target = urlsplit(link)
        hosts = {*_HUB_HOSTS, urlsplit(endpoint or HUB).netloc}
    except ValueError:
        raise UsageError(f"{link!r} is no address; {_ALLOWED}") from None
    parts = [unquote(part) for part in target.path.strip("/").split("/")]
    if target.scheme not in {"http", "https"} or target.netloc not in hosts:
        raise UsageError(f"{link} does not lead to the Hub; {_ALLOWED}; another Hub is named by --endpoint")
    if parts[0] in _OTHER_KINDS:
        raise UsageError(f"{link} leads to {parts[0]} of the Hub, not to a model; {_ALLOWED}")
    view, revision, file = (parts[2:3] or [""])[0], (parts[3:4] or [""])[0], parts[4:]
    if view in _FILE_VIEWS or (view == "tree" and not file):
        return "/".join([*parts[:2], *file]), revision
    if view:
        raise UsageError(f"{link} leads into a repository, neither to a model nor to a file; {_ALLOWED}")
    return "/".join(parts), ""
