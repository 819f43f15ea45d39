#!/usr/bin/env python3
"""Writes the files that are made from others: pages of docs/, the resource definition, the packaged models_info.json.

`python tools/generate.py` writes them, `--check` writes nothing and fails when one differs from what it would write.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path

from chart_readme import chart_readme
from conditions_page import conditions_page
from crd_file import crd_file
from deploy_manifests import deploy_manifests
from helm_binary import NoHelm
from imagegen_contract.openapi import openapi_document
from settings_page import settings_page

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Write the files, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args(arguments).check
    stale = {path: content for path, content in generated_files().items() if not _is_current(path, content)}
    for path, content in stale.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        verb = "is out of date; run python tools/generate.py" if check else "written"
        sys.stdout.write(f"{path.relative_to(ROOT)}: {verb}\n")
    return 1 if check and stale else 0


def generated_files() -> dict[Path, bytes]:
    """Return what each generated file should hold."""
    return {
        **_rendered(),
        ROOT / "docs/settings.md": settings_page().encode(),
        ROOT / "docs/conditions.md": conditions_page().encode(),
        ROOT / "docs/openapi.json": openapi_page().encode(),
        ROOT / "deploy/crd.yaml": crd_file().encode(),
        ROOT / "charts/imagegen/files/crd.yaml": crd_file().encode(),
        ROOT / "charts/imagegen/README.md": chart_readme().encode(),
        ROOT / "charts/imagegen/files/models_info.json": (ROOT / "models_info.json").read_bytes(),
        ROOT / "contract/imagegen_contract/models_info.json": (ROOT / "models_info.json").read_bytes(),
    }


def _rendered() -> dict[Path, bytes]:
    """Return what helm makes, which is not to be had everywhere: CI compares it."""
    try:
        return {ROOT / "deploy/imagegen.yaml": deploy_manifests().encode()}
    except NoHelm as error:
        sys.stderr.write(f"deploy/imagegen.yaml: left as it is: {error}\n")
        return {}


def openapi_page() -> str:
    """Return the OpenAPI document of this version, indented."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return json.dumps(openapi_document(project["version"]), indent=2, ensure_ascii=False) + "\n"


def _is_current(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
