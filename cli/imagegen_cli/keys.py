"""``imagegen keys``: the file of API keys that a router reads."""

import argparse
import contextlib
import os
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from imagegen_cli.command import Command, CommandError
from imagegen_cli.yaml_text import yaml_document
from imagegen_contract.api_keys import ApiKey, KeysError, keys_file, load_keys, new_key, parse_keys
from imagegen_contract.edited_text import FileError, MissingFileError, read_file

_FILE_NAME = "keys.json"
"""In the Secret; what a router that mounts it is told to read."""

_Run = Callable[[argparse.Namespace], int]


def _configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    def action(name: str, words: str, run: _Run) -> argparse.ArgumentParser:
        subparser = actions.add_parser(name, help=words, description=f"{words[:1].upper()}{words[1:]}.")
        subparser.add_argument("--file", metavar="FILE", type=Path, required=True, help="the file of keys (JSON)")
        subparser.set_defaults(action=run)
        return subparser

    add = action("add", "make a key, add it to the file, and show it once", _add)
    add.add_argument("name", metavar="NAME", help="whose key it is, for people")
    add.add_argument("--requests-per-minute", metavar="N", type=float, help="most requests a minute")
    add.add_argument("--concurrency", metavar="N", type=int, help="most requests that wait or run at once")
    action("list", "show the keys of the file, without their secrets", _list)
    revoke = action("revoke", "take a key out of the file", _revoke)
    revoke.add_argument("id", metavar="ID", help="id of the key, as the list shows it")
    secret = action("secret", "print the file as a Secret for kubectl apply", _secret)
    secret.add_argument("--name", metavar="NAME", default="imagegen-api-keys", help="of the Secret (now: %(default)s)")


def _run(args: argparse.Namespace) -> int:
    try:
        return args.action(args)
    except KeysError as error:
        raise CommandError(str(error)) from None


def _add(args: argparse.Namespace) -> int:
    for name, value in (("--requests-per-minute", args.requests_per_minute), ("--concurrency", args.concurrency)):
        if value is not None and not value > 0:
            raise CommandError(f"{name}: found {value:g}; allowed: a number above 0")
    if not 1 <= len(args.name) <= 100:
        raise CommandError(f"NAME: found {len(args.name)} characters; allowed: 1 to 100")
    before = _before(args.file)
    key, entry = new_key(args.name, args.requests_per_minute, args.concurrency)
    _write(args.file, (*before, entry))
    print(key)
    return 0


def _list(args: argparse.Namespace) -> int:
    keys = load_keys(args.file)
    width = max((len(key.name) for key in keys), default=4)
    print(f"{'ID':10}  {'NAME':{width}}  REQUESTS/MIN  CONCURRENCY")
    for key in keys:
        rate = "-" if key.requests_per_minute is None else f"{key.requests_per_minute:g}"
        print(f"{key.id:10}  {key.name:{width}}  {rate:>12}  {key.concurrency or '-':>11}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    keys = load_keys(args.file)
    left = tuple(key for key in keys if key.id != args.id)
    if len(left) == len(keys):
        known = ", ".join(key.id for key in keys) or "none"
        raise CommandError(f"{args.file} has no key {args.id!r}; there are: {known}")
    _write(args.file, left)
    return 0


def _secret(args: argparse.Namespace) -> int:
    content = keys_file(load_keys(args.file))
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": args.name},
        "type": "Opaque",
        "data": {_FILE_NAME: b64encode(content).decode()},
    }
    print(yaml_document(manifest), end="")
    return 0


def _before(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file that is to get one more; one that is not there, or empty, has none."""
    try:
        content = read_file(path)
    except MissingFileError:
        return ()
    except FileError as error:
        raise CommandError(f"{path}: {error}") from None
    return parse_keys(content, str(path)) if content.strip() else ()


def _write(path: Path, keys: tuple[ApiKey, ...]) -> None:
    """Replace the file as a whole: a router never reads half of it."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(keys_file(keys))
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from None


COMMAND = Command(name="keys", help="make, list and revoke API keys of a router", configure=_configure, run=_run)
