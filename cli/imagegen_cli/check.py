"""``imagegen check``: has a server make one picture and looks whether it is one; `helm test` runs it."""

import argparse
import time

from imagegen_cli.client import ApiError, Client, ClientError, add_server_options, timeout_seconds
from imagegen_cli.command import Command
from imagegen_cli.picture_bytes import content
from imagegen_cli.png_file import NotPng, read_png
from imagegen_contract.errors import ErrorCode
from imagegen_contract.images import GenerateImage, ImagesReply

PROMPT = "a red circle on a blue background"
SEED = 7

_PAUSE_SECONDS = 1.0
_EARLY = {ErrorCode.MODEL_NOT_FOUND, ErrorCode.MODEL_LOADING, ErrorCode.MODEL_UNAVAILABLE}

_LEAST_ROWS = 3
"""A picture of one colour has one, and another first one where rows are kept as the difference to the one above."""


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="M", help="id, alias or last part of an id; the server's own choice when left out")
    add("--wait", metavar="S", type=timeout_seconds, default=0.0, help="seconds in which the model may still come")
    add("--prompt", metavar="PROMPT", default=PROMPT, help="what to paint (now: %(default)s)")
    add_server_options(parser)


def _run(args: argparse.Namespace) -> int:
    client: Client = args.client
    request = GenerateImage(prompt=args.prompt, model=args.model, seed=SEED, output_format="png")
    deadline = time.monotonic() + args.wait
    while True:
        started = time.perf_counter()
        try:
            reply = client.generate(request)
        except ClientError as error:
            if not _may_pass(error) or time.monotonic() + _PAUSE_SECONDS > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return _judge(reply, time.perf_counter() - started)


def _may_pass(error: ClientError) -> bool:
    """Whether it is what an installation says that has just begun: nobody there yet, or no such model yet."""
    return not error.status or (isinstance(error, ApiError) and error.code in _EARLY)


def _judge(reply: ImagesReply, seconds: float) -> int:
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
