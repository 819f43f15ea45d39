"""``imagegen check``: has a server make one picture and looks whether it is one; `helm test` runs it."""

import argparse
import time

from imagegen_cli.client import Client, ClientError, add_server_options
from imagegen_cli.command import Command
from imagegen_cli.picture_bytes import content
from imagegen_cli.png_file import NotPng, read_png
from imagegen_contract.images import GenerateImage

PROMPT = "a red circle on a blue background"
SEED = 7

_LEAST_ROWS = 3
"""A picture of one colour has one, and another first one where rows are kept as the difference to the one above."""


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="M", help="id, alias or last part of an id; the server's own choice when left out")
    add("--prompt", metavar="PROMPT", default=PROMPT, help="what to paint (now: %(default)s)")
    add_server_options(parser)


def _run(args: argparse.Namespace) -> int:
    client: Client = args.client
    started = time.perf_counter()
    reply = client.generate(GenerateImage(prompt=args.prompt, model=args.model, seed=SEED, output_format="png"))
    seconds = time.perf_counter() - started
    if len(reply.data) != 1:
        raise ClientError(f"one picture was asked for, {len(reply.data)} came")
    picture = content(reply.data[0])
    try:
        image = read_png(picture)
    except NotPng as error:
        raise ClientError(f"the picture of {reply.model} cannot be read: {error}") from None
    if f"{image.width}x{image.height}" != reply.size:
        raise ClientError(f"{reply.model} says {reply.size}, its picture is {image.width}x{image.height}")
    if image.distinct_rows < _LEAST_ROWS:
        raise ClientError(f"the picture of {reply.model} shows nothing: all its rows are alike")
    print(f"{reply.model}: a picture of {reply.size}, {len(picture)} bytes, in {seconds:.2f} s")
    return 0


COMMAND = Command(name="check", help="have one picture made and check it", configure=_configure, run=_run)
