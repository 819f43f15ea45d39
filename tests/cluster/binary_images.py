"""Images of one static program, made without a registry or a builder."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

PAUSE = "localhost/imagegen-test/pause:1"
HELLO = "localhost/imagegen-test/hello:1"

_SOURCES = Path(__file__).parent / "images"
_SECONDS = 60.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NOBODY = "65535:65535"


def compiled_image(source: str, name: str, folder: Path) -> Path:
    """Compile ``images/SOURCE.c`` statically and return an archive with the image ``name`` in it."""
    program, archive = folder / source, folder / f"{source}.tar"
    subprocess.run(
        ["gcc", "-static", "-Os", "-s", "-o", str(program), str(_SOURCES / f"{source}.c")],
        check=True,
        timeout=_SECONDS,
    )
    write_image(program, name, archive)
    return archive


def write_image(program: Path, name: str, archive: Path) -> None:
    """Write a docker-archive with one layer that holds the program, which is its entry point, run as nobody."""
    layer = _tar({program.name: program.read_bytes()})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": _NOBODY},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [],
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": _json(config), "layer.tar": layer, "manifest.json": _json(manifest)}
    archive.write_bytes(_tar(files))


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document).encode()
