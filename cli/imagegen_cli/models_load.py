"""``imagegen models load`` and ``unload``: asks a server, and waits until it is so."""

import argparse
import time

from imagegen_cli.client import Client, add_server_options
from imagegen_cli.command import CommandError
from imagegen_cli.model_words import details, placed
from imagegen_cli.progress_line import ProgressLine
from imagegen_contract.images import ModelInfo

_FIRST_POLL_SECONDS = 0.1
_LONGEST_POLL_SECONDS = 1.0
"""A small model is there in half a second; a download takes minutes, and each look is a line in the server's log."""


def configure_load(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``load``."""
    parser.add_argument("name", metavar="NAME", help="id, alias or last part of an id")
    parser.add_argument("--no-wait", action="store_true", help="return at once; the server loads in the background")
    add_server_options(parser)


def configure_unload(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``unload``."""
    parser.add_argument("name", metavar="NAME", help="id, alias or last part of an id")
    add_server_options(parser)


def load(args: argparse.Namespace) -> int:
    """Load a model; return 0 when it is ready (or, with ``--no-wait``, on its way). Raise CommandError if it failed."""
    client: Client = args.client
    model = client.load(args.name)
    if _ready(model):
        print(f"{model.id} is loaded already: {placed(model)}")
    elif args.no_wait:
        print(f"{model.id} is being loaded: see `imagegen models list`")
    else:
        model = _followed(client, model)
        print(f"{model.id} is ready: {placed(model)}")
    return 0


def unload(args: argparse.Namespace) -> int:
    """Unload a model; return 0 when it is off the device."""
    client: Client = args.client
    model = client.unload(args.name)
    if model.state != "unloaded":
        raise CommandError(f"{model.id} is {model.state} again: something asked for it while it was unloaded")
    print(f"{model.id} is unloaded")
    return 0


def _followed(client: Client, model: ModelInfo) -> ModelInfo:
    """Show a load's progress until it is over; return the loaded model, raise CommandError when there is none."""
    pause = _FIRST_POLL_SECONDS
    with ProgressLine() as line:
        while not _ready(model):
            if model.state == "failed":
                raise CommandError(f"{model.id} failed to load: {details(model)}")
            if model.state == "unloaded":
                raise CommandError(f"{model.id} was unloaded while it was being loaded")
            line.show(f"{model.id}: {details(model)}", _step(model))
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL_SECONDS)
            model = client.model(model.id)
    return model


def _ready(model: ModelInfo) -> bool:
    # A loaded model with a stage is on its way out: its last requests still run.
    return model.state == "ready" and not model.stage


def _step(model: ModelInfo) -> tuple[str | None, str | None, int]:
    """Return what makes a line of its own where no terminal shows the rest: a stage, a failed try, ten percent."""
    return model.stage, model.error, int(model.progress.percent // 10) if model.progress else 0
