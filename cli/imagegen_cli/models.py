"""``imagegen models``: the models that a server knows, and whether a models_info.json is right."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagegen_cli.client import Client, add_server_options
from imagegen_cli.command import Command, CommandError
from imagegen_contract.catalog import CatalogError, load_catalog
from imagegen_contract.images import ModelInfo

_COLUMNS = ("ID", "STATE", "SIZE", "STEPS", "SCHEDULER", "DESCRIPTION")
_GAP = "  "


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show the models of a server", description="Shows a server's models.")
    listing.set_defaults(action=_list)
    add_server_options(listing)
    checking = actions.add_parser("check", help="check a catalog file", description="Names every problem of a catalog.")
    checking.add_argument("file", metavar="FILE", type=Path, help="a models_info.json")
    checking.set_defaults(action=_check)


def _run(args: argparse.Namespace) -> int:
    return args.action(args)


def _list(args: argparse.Namespace) -> int:
    client: Client = args.client
    for line in _table([_COLUMNS, *(_row(model) for model in client.models().data)]):
        print(line)
    return 0


def _check(args: argparse.Namespace) -> int:
    try:
        entries = load_catalog(args.file)
    except CatalogError as error:
        print(error)
        raise CommandError(f"{args.file} has {_counted(len(error.problems), 'problem')}") from None
    print(f"{args.file}: {_counted(len(entries), 'entry', 'entries')}, no problems")
    return 0


def _row(model: ModelInfo) -> tuple[str, ...]:
    # Of a model that failed people want to know why, more than what it would paint.
    last = model.error or model.description
    return (model.id, model.state, model.size or "-", str(model.steps), model.scheduler or "-", last or "-")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


COMMAND = Command(name="models", help="list a server's models, check a catalog file", configure=_configure, run=_run)
