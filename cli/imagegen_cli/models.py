"""``imagegen models``: a server's models, their state, loading and unloading; a catalog file: add, check, convert."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imagegen_cli import models_add, models_load, models_to_crd
from imagegen_cli.client import Client, add_server_options
from imagegen_cli.command import Command, CommandError, UsageError
from imagegen_cli.model_words import table
from imagegen_contract.catalog import CatalogError, load_catalog

_WATCH_SECONDS = 1.0
_CLEAR_SCREEN = "\x1b[2J\x1b[H"

_Run = Callable[[argparse.Namespace], int]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, words: str, configure: Callable[[argparse.ArgumentParser], None], run: _Run) -> None:
        subparser = actions.add_parser(name, help=words, description=f"{words[:1].upper()}{words[1:]}.")
        configure(subparser)
        subparser.set_defaults(action=run)

    action("list", "show the models of a server and their state", _configure_list, _list)
    action("load", "load a model and wait until it is ready", models_load.configure_load, models_load.load)
    action("unload", "take a model off a server's device", models_load.configure_unload, models_load.unload)
    action("add", "add a model of the Hugging Face Hub to a catalog file", models_add.configure, models_add.run)
    action("to-crd", "print the models of a catalog file as ImageModels", models_to_crd.configure, models_to_crd.run)
    action("check", "name every problem of a catalog file", _configure_check, _check)


def _configure_list(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the server's own answer")
    form.add_argument("--watch", action="store_true", help="show it anew every second until Ctrl-C (on a terminal)")
    add_server_options(parser)


def _configure_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a models_info.json")


def _run(args: argparse.Namespace) -> int:
    return args.action(args)


def _list(args: argparse.Namespace) -> int:
    client: Client = args.client
    if args.json:
        print(_printable(client.models_json()))
        return 0
    if args.watch and not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal; without it the list is printed once")
    while args.watch:
        screen = "\n".join(_lines(client))
        print(f"{_CLEAR_SCREEN}{screen}", flush=True)
        time.sleep(_WATCH_SECONDS)
    for line in _lines(client):
        print(line)
    return 0


def _printable(text: str) -> str:
    """Return JSON in characters that standard output has; the others become escapes of JSON."""
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "".join(character if character.isascii() else json.dumps(character)[1:-1] for character in text)
    return text


def _lines(client: Client) -> Iterator[str]:
    # What another program reads is not wrapped.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return table(client.models().data, width)


def _check(args: argparse.Namespace) -> int:
    try:
        entries = load_catalog(args.file)
    except CatalogError as error:
        print(error)
        raise CommandError(f"{args.file} has {_counted(len(error.problems), 'problem')}") from None
    print(f"{args.file}: {_counted(len(entries), 'entry', 'entries')}, no problems")
    return 0


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


COMMAND = Command(name="models", help="list, load, add and check models", configure=_configure, run=_run)
