"""``imagegen models to-crd``: the ImageModels of a catalog file, as the operator makes them, for `kubectl apply`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from imagegen_cli.command import CommandError
from imagegen_cli.yaml_text import yaml_document
from imagegen_contract.catalog import CatalogError
from imagegen_contract.edited_text import FileError, read_file
from imagegen_contract.manifests import image_models, read_entries


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``to-crd``."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a models_info.json")
    parser.add_argument("--namespace", metavar="NS", default="", help="written into each; kubectl's own when left out")


def run(args: argparse.Namespace) -> int:
    """Print one YAML document a model; print none and raise CommandError when the catalog cannot be used."""
    models, problems = image_models(_entries(args.file), namespace=args.namespace)
    if problems:
        raise CommandError(f"{args.file}: {'; '.join(problems)}: give one of them another id")
    sys.stdout.write("---\n".join(map(yaml_document, models.values())))
    return 0


def _entries(file: Path) -> list[dict[str, Any]]:
    try:
        return read_entries(read_file(file), str(file))
    except FileError as error:
        raise CommandError(f"{file}: {error}") from None
    except CatalogError as error:
        # Standard output is kubectl's.
        print(error, file=sys.stderr)
        raise CommandError(f"{file} is wrong, so nothing is printed") from None
