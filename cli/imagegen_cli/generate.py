"""``imagegen generate``: asks a server for pictures and writes them to files."""

import argparse
import time
from pathlib import Path
from typing import get_args

from imagegen_cli.client import Client, add_server_options
from imagegen_cli.command import Command, UsageError
from imagegen_cli.picture_bytes import content
from imagegen_cli.picture_files import Destination, destination, write_new
from imagegen_contract.image_size import parse_size
from imagegen_contract.images import GenerateImage, ImagesReply, OutputFormat, ResolvedQuality


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", metavar="PROMPT", help="what to paint")
    add("--model", metavar="M", help="id, alias or last part of an id (see `imagegen models list`)")
    add("--size", metavar="WxH", type=_size, help="width and height in pixels; the model's own when left out")
    add("-n", metavar="N", type=int, help="number of pictures; picture k has seed S + k")
    add("--seed", metavar="S", type=int, help="the same seed makes the same picture; random when left out")
    add("--steps", metavar="K", type=int, help="denoising steps; wins over --quality")
    add("--guidance", metavar="G", type=float, help="how strongly to follow the prompt")
    add("--scheduler", metavar="P", help="sampler, such as ddim or euler_a")
    add("--negative-prompt", metavar="T", help="what to avoid")
    add("--quality", choices=get_args(ResolvedQuality), help="the model's steps for this quality")
    add("--format", choices=get_args(OutputFormat), help="file format; by the suffix of --output, else png")
    add("--output", metavar="FILE|DIR", help="file, folder, or new folder with a slash at its end; nothing is replaced")
    add_server_options(parser)


def _run(args: argparse.Namespace) -> int:
    client: Client = args.client
    target = destination(args.output)
    request = _request(args, _format(args.format, target))
    started = time.perf_counter()
    reply = client.generate(request)
    seconds = time.perf_counter() - started
    for image in reply.data:
        path = write_new(target.path(reply.model, image.seed, reply.output_format), content(image))
        _report(path, image.seed, reply, seconds)
    return 0


def _request(args: argparse.Namespace, output_format: OutputFormat | None) -> GenerateImage:
    return GenerateImage(
        prompt=args.prompt,
        model=args.model,
        n=args.n,
        size=args.size,
        output_format=output_format,
        quality=args.quality,
        negative_prompt=args.negative_prompt,
        seed=args.seed,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        scheduler=args.scheduler,
    )


def _format(wanted: OutputFormat | None, target: Destination) -> OutputFormat | None:
    if wanted and target.format and wanted != target.format:
        raise UsageError(f"--format {wanted} contradicts the name of the file {target.name}")
    return wanted or target.format


def _report(path: Path, seed: int, reply: ImagesReply, seconds: float) -> None:
    print(f"{path}  seed {seed}  {reply.size}  {seconds:.2f} s")


def _size(text: str) -> str:
    try:
        return str(parse_size(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


COMMAND = Command(name="generate", help="make pictures from a text", configure=_configure, run=_run)
