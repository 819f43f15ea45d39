"""The ``imagegen`` command: finds its subcommands, reads the environment, runs one of them.

The exit code is 0 when all is well, 1 when something failed (one line on stderr says what), 2 for wrong usage; see
``run_program`` for what may happen to the output.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata

from imagegen_cli.client import DEFAULT_SERVER, DEFAULT_TIMEOUT, Client, timeout_seconds
from imagegen_cli.command import ENTRY_POINT_GROUP, Command, CommandError
from imagegen_contract.program import run_program

SERVER_VARIABLE = "IMAGEGEN_URL"
API_KEY_VARIABLE = "IMAGEGEN_API_KEY"


def main() -> int:
    """Run the program with the arguments and the environment of this process; return its exit code."""
    return run_program("imagegen", lambda: run(sys.argv[1:], os.environ))  # noqa: TID251 - this is the composition root


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the subcommand that ``arguments`` name; return the exit code. Wrong usage raises SystemExit(2)."""
    args = _parser(environment.get(SERVER_VARIABLE) or DEFAULT_SERVER).parse_args(arguments)
    args.client = Client(
        args.server, api_key=environment.get(API_KEY_VARIABLE, "").strip() or None, timeout=args.timeout
    )
    try:
        return args.command.run(args)
    except CommandError as error:
        print(f"imagegen: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise  # of the output, which is run_program's
        print(f"imagegen: {error.filename}: {error.strerror}", file=sys.stderr)
        return CommandError.exit_code


def find_commands() -> list[Command]:
    """Return the subcommands of all installed components, by name."""
    points = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return [_loaded(point) for point in points]


def _loaded(point: metadata.EntryPoint) -> Command:
    try:
        return point.load()
    except ImportError as error:
        return _unavailable(point.name, error)


def _unavailable(name: str, error: ImportError) -> Command:
    """Stand in for a command whose component lacks its libraries: the other commands go on working."""

    def fail(_: argparse.Namespace) -> int:
        raise CommandError(f"the command {name} is not usable here: {error}")

    def take_anything(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)

    return Command(name=name, help=f"(not usable here: {error})", configure=take_anything, run=fail)


def _parser(server: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imagegen",
        description="Makes pictures from text with an imagegen server.",
        epilog=f"{SERVER_VARIABLE} sets the server, {API_KEY_VARIABLE} the API key where one is needed.",
    )
    parser.add_argument("--version", action="version", version=f"imagegen {metadata.version('imagegen')}")
    parser.add_argument("--server", metavar="URL", default=server, help="base URL of the server (now: %(default)s)")
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=timeout_seconds,
        default=DEFAULT_TIMEOUT,
        help="seconds to wait (now: %(default)g)",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in find_commands():
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.configure(subparser)
        subparser.set_defaults(command=command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
