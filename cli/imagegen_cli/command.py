"""What a subcommand of ``imagegen`` is.

A component adds one by an entry point of the group ``imagegen.commands`` that names a ``Command``. Every entry
point is imported whenever ``imagegen`` starts, so the module must import only what its ``configure`` needs.
"""

import argparse
from collections.abc import Callable

import msgspec

ENTRY_POINT_GROUP = "imagegen.commands"


class CommandError(Exception):
    """A command cannot do what was asked. The message is one line for people; the program ends with ``exit_code``."""

    exit_code = 1


class UsageError(CommandError):
    """The options contradict each other, or one has a value that it cannot have."""

    exit_code = 2


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One subcommand.

    ``configure`` adds options and arguments to the parser it is given; the names ``command``, ``client``, ``server``
    and ``timeout`` are taken. ``run`` gets what was parsed, and in ``client`` an ``imagegen_cli.client.Client`` of the
    chosen server; it returns the exit code or raises CommandError.
    """

    name: str
    help: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
