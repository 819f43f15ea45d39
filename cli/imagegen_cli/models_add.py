"""``imagegen models add``: writes an entry of models_info.json out of what a Hub says of a model."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagegen_cli.catalog_entry import draft
from imagegen_cli.catalog_text import CatalogText, entry_lines
from imagegen_cli.command import CommandError
from imagegen_cli.hub_facts import HubFacts
from imagegen_cli.hub_reference import HubReference, parse_reference
from imagegen_contract.server_settings import DEFAULT_MODEL

_CATALOG = Path("models_info.json")
"""Where a server looks for its catalog when it is told nothing."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``add``."""
    add = parser.add_argument
    add("id", metavar="ID", help="owner/name, owner/name/FILE.safetensors, or a link to either")
    add("--catalog", metavar="FILE", type=Path, default=_CATALOG, help="catalog file, made if need be (%(default)s)")
    add("--revision", metavar="R", default="", help="branch, tag or commit; the main branch when left out")
    add("--alias", metavar="NAME", action="append", default=[], help="another name of the model; may come repeatedly")
    add("--endpoint", metavar="URL", help="another Hub; HF_ENDPOINT when left out, else huggingface.co")
    add("--dry-run", action="store_true", help="print the entry and write nothing")


def run(args: argparse.Namespace) -> int:
    """Add a model; return 0 when the catalog has it. Raise CommandError, and leave the file as it was, otherwise."""
    reference = parse_reference(args.id, args.endpoint)
    catalog = CatalogText(args.catalog)
    drafted = draft(_facts(reference, args.revision, args.endpoint))
    entry, notes = _named(drafted.entry, args.alias, catalog)
    content = catalog.with_entry(entry)
    if not args.dry_run:
        catalog.replace(content)
    print("\n".join(entry_lines(entry)))
    for note in (*drafted.notes, *notes):
        print(f"- {note}")
    if args.dry_run:
        print(f"nothing was written; without --dry-run it goes into {args.catalog}")
    else:
        _report(args.catalog, catalog, entry["id"])
    return 0


def _facts(reference: HubReference, revision: str, endpoint: str | None) -> HubFacts:
    try:
        from imagegen_cli.hub_metadata import HubMetadata  # noqa: PLC0415 - a third of a second, and not in every install
    except ImportError as error:
        raise CommandError(f"models add needs huggingface_hub ({error}): pip install 'imagegen[server]'") from None
    wanted = HubReference(repository=reference.repository, file=reference.file, revision=revision or reference.revision)
    return HubMetadata(endpoint).facts(wanted)


def _named(entry: dict[str, Any], given: Sequence[str], catalog: CatalogText) -> tuple[dict[str, Any], list[str]]:
    """Return ``entry`` with the aliases that are free, and notes; raise CommandError when its names are taken."""
    owners, model_id = catalog.names(), entry["id"]
    if model_id in owners:
        what = "an entry" if owners[model_id] == model_id else f"an alias of {owners[model_id]}"
        raise CommandError(f"{model_id} is {what} of the catalog already: edit that, or take it out first")
    for alias in given:
        if alias in owners:
            raise CommandError(f"the alias {alias} is a name of {owners[alias]} already: give another")
    taken = [alias for alias in entry["aliases"] if alias in owners]
    free = [alias for alias in entry["aliases"] if alias not in owners]
    notes = [f"the alias {alias} is a name of {owners[alias]} already, so it was left out" for alias in taken]
    return {**entry, "aliases": list(dict.fromkeys([*free, *given]))}, notes


def _report(path: Path, catalog: CatalogText, model_id: str) -> None:
    print(f"{path}: {model_id} added{' to a new file' if catalog.is_new else ''}")
    command = ["imagegen-server", "--load", model_id]
    if path != _CATALOG:
        command += ["--catalog", str(path)]
    if DEFAULT_MODEL not in catalog.names():
        # Requests that name no model would find none.
        command += ["--default-model", model_id]
    print(f"next: {shlex.join(command)}")
    print(f"      or, where a server runs with this file: {shlex.join(['imagegen', 'models', 'load', model_id])}")
