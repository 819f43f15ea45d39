"""The reply path: a finished picture of 1024x1024 to the JSON body of a reply, against Pillow, base64 and json.

    python benchmarks/reply_path.py [--quick]

CPU and file size against (a) Pillow's default PNG and (b) Pillow's level 1 with run lengths, both with the standard
base64 and json.dumps; and the longest time that an event loop stands still while 8 replies are encoded in threads.
Fails when a picture does not come back bit for bit; never fails on a time.
"""

import argparse
import asyncio
import base64
import io
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness import Comparison, Machine, compare, exact, print_table, this_machine, write_json
from imagegen_contract.images import ImageData, ImagesReply, InputTokensDetails, Usage
from imagegen_server.encoding import encode_image, reply_bytes

SIDE = 1024
REPLIES = 8
BEAT_SECONDS = 0.001
LOOP_TARGET_MS = 5.0

Pixels = NDArray[np.uint8]

PILLOW: dict[str, tuple[dict[str, int], float]] = {
    "Pillow default": ({}, 1 / 15),
    "Pillow level 1, RLE": ({"compress_level": 1, "compress_type": 3}, 1 / 4),  # 3 is zlib's Z_RLE
}
"""The other sides: options of Pillow's PNG, and the share of their CPU that we want to stay under."""
SIZE_TARGET = 1.2

USAGE = Usage(
    input_tokens=7,
    input_tokens_details=InputTokensDetails(text_tokens=7),
    output_tokens=16384,
    total_tokens=16391,
    gpu_seconds=1.25,
    queue_seconds=0.01,
)
REPLY = ImagesReply(
    created=1_700_000_000,
    data=(ImageData(b64_json="", seed=1),),
    output_format="png",
    quality=None,
    size=f"{SIDE}x{SIDE}",
    model="an/example",
    usage=USAGE,
)


class LoopBlocked(msgspec.Struct, frozen=True, kw_only=True):
    """How late the loop's heartbeat came at worst, in ms: the median and the largest of several runs of 8 replies."""

    where: str
    median_ms: float
    worst_ms: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Everything measured; ``lossless`` is always true, for the run fails otherwise."""

    machine: Machine
    lossless: bool
    comparisons: tuple[Comparison, ...]
    loop: tuple[LoopBlocked, ...]


def photo_like() -> Pixels:
    """Return a picture with detail at every scale, as a photograph has: noise of 9 octaves, each at half the height."""
    rng = np.random.default_rng(0)
    picture = np.full((SIDE, SIDE, 3), 128.0)
    for octave in range(2, 11):
        cells = 2**octave
        # Most of a photograph's detail is brightness, common to the three channels.
        noise = rng.normal(size=(cells, cells, 1)) + 0.3 * rng.normal(size=(cells, cells, 3))
        picture += 200 / cells * _enlarged(noise)
    return np.clip(picture, 0, 255).astype(np.uint8)


def flat() -> Pixels:
    """Return a picture of a few areas of one colour each: a disc and a rectangle on a ground."""
    picture = np.full((SIDE, SIDE, 3), (40, 90, 160), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE]
    picture[(x - 400) ** 2 + (y - 500) ** 2 < 250**2] = (230, 200, 60)
    picture[600:900, 500:950] = (200, 40, 50)
    return picture


def measure(*, quick: bool) -> Results:
    """Check that both pictures come back bit for bit, then measure; a few seconds when ``quick``.

    Raises:
        AssertionError: a reply of either side does not hold the picture.
    """
    comparisons: list[Comparison] = []
    for name, pixels in (("photo-like", photo_like()), ("flat", flat())):
        comparisons += _compared(name, pixels, rounds=5 if quick else 11)
    return Results(
        machine=this_machine("numpy", "pillow", "isal", "pybase64", "msgspec"),
        lossless=True,
        comparisons=tuple(comparisons),
        loop=_loop_blocked(photo_like(), runs=5 if quick else 25),
    )


def print_results(results: Results) -> None:
    """Print the tables."""
    print_table(results.comparisons)
    print(f"\nEvent loop blocked while {REPLIES} photo-like replies are encoded (target <= {LOOP_TARGET_MS:g} ms)")
    for row in results.loop:
        print(f"  {row.where:<44}median of runs {row.median_ms:6.2f} ms   worst run {row.worst_ms:6.2f} ms")


def _compared(name: str, pixels: Pixels, rounds: int) -> list[Comparison]:
    ours = partial(_our_reply, pixels)
    theirs = {against: partial(_pillow_reply, pixels, options) for against, (options, _) in PILLOW.items()}
    files = {against: _picture_in(side()) for against, side in {"": ours, **theirs}.items()}
    for file in files.values():
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(file))), pixels), "a picture did not come back"
    cpu = compare(f"CPU, {name}", ours, {key: (side, PILLOW[key][1]) for key, side in theirs.items()}, rounds)
    size = partial(exact, f"file, {name}", unit="KiB", target=SIZE_TARGET)
    return cpu + [size(against=key, figures=(len(files[""]) / 1024, len(files[key]) / 1024)) for key in theirs]


def _our_reply(pixels: Pixels) -> bytes:
    return reply_bytes(REPLY, [encode_image(pixels, "png", 100)])


def _pillow_reply(pixels: Pixels, options: dict[str, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    picture = {"b64_json": base64.b64encode(file.getvalue()).decode(), "seed": 1}
    return json.dumps({**msgspec.to_builtins(REPLY), "data": [picture]}).encode()


def _picture_in(body: bytes) -> bytes:
    return base64.b64decode(json.loads(body)["data"][0]["b64_json"], validate=True)


def _enlarged(noise: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return noise of shape (cells, cells, 3) enlarged smoothly to the whole picture."""
    channels = [
        Image.fromarray(noise[..., k].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        for k in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _loop_blocked(pixels: Pixels, runs: int) -> tuple[LoopBlocked, ...]:
    """Measure with one encoding thread, with asyncio's own pool, and idle: what the machine itself does to a loop."""
    work = partial(_our_reply, pixels)
    asyncios_own = None
    with ThreadPoolExecutor(1) as one_thread:
        blocked: dict[str, list[float]] = {
            "idle": [],
            "one encoding thread": [],
            "asyncio.to_thread (its own pool)": [],
        }
        for _ in range(runs):
            for where, job, pool in zip(
                blocked, (partial(time.sleep, 0.01), work, work), (one_thread, one_thread, asyncios_own), strict=True
            ):
                blocked[where].append(asyncio.run(_latest_beat(job, pool)))
    return tuple(
        LoopBlocked(where=where, median_ms=statistics.median(ms), worst_ms=max(ms)) for where, ms in blocked.items()
    )


async def _latest_beat(job: Callable[[], object], pool: ThreadPoolExecutor | None) -> float:
    """Return by how many ms the latest of the loop's heartbeats was late while the replies were encoded."""
    loop = asyncio.get_running_loop()
    replies = asyncio.gather(*(loop.run_in_executor(pool, job) for _ in range(REPLIES)))
    latest = 0.0
    while not replies.done():
        start = time.perf_counter()
        await asyncio.sleep(BEAT_SECONDS)
        latest = max(latest, time.perf_counter() - start - BEAT_SECONDS)
    await replies
    return latest * 1e3


def main() -> None:
    """Measure, print the tables, write benchmarks/out/reply_path.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of half a minute")
    results = measure(quick=parser.parse_args().quick)
    print_results(results)
    print(f"\nwrote {write_json('reply_path', results)}")


if __name__ == "__main__":
    main()
