"""One request alone: our rows, driven evaluation by evaluation, against the stock pipeline called once.

    python benchmarks/lone_request.py [--quick]

CPU of one picture of the embedded model at 256x256, 8 steps, guidance 3, one thread, without HTTP and encoding on
both sides. Fails when the two pictures differ by more than one level.
"""

import argparse
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from harness import Comparison, Machine, compare, print_table, this_machine, write_json
from imagegen_contract.image_model import ImageModelSpec
from imagegen_contract.image_size import ImageSize
from imagegen_server.generation import Generation
from imagegen_server.pipelines.loading import PipelineLoader, diffusers
from imagegen_server.sources import Weights
from imagegen_shapes import WEIGHTS

TARGET = 1.1
SIDE, STEPS, GUIDANCE, SEED = 256, 8, 3.0, 7
PROMPT = "a red circle on a blue background"
SPEC = ImageModelSpec(publisher="imagegen", family="shapes", version="1", id="imagegen/shapes")
GENERATION = Generation(
    model_id=SPEC.id,
    prompt=PROMPT,
    negative_prompt=None,
    size=ImageSize(SIDE, SIDE),
    steps=STEPS,
    guidance_scale=GUIDANCE,
    scheduler="ddim",
    seeds=(SEED,),
)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The row, and where it was taken."""

    machine: Machine
    comparisons: tuple[Comparison, ...]


def measure(*, quick: bool) -> Results:
    """Compare in 7 (quick) or 15 rounds."""
    loader = PipelineLoader("cpu", "float32", cpu_threads=1)
    pipe = loader.read(Weights(path=WEIGHTS), SPEC)
    for place in loader.placing(pipe):
        place()
    pipeline = loader.finish(pipe)
    stock: Any = diffusers.StableDiffusionPipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    assert np.abs(ours(pipeline).astype(int) - theirs(stock).astype(int)).max() <= 1, "the pictures differ"
    rows = compare(
        f"one picture, {SIDE}x{SIDE}, {STEPS} steps",
        lambda: ours(pipeline),
        {"stock pipeline": (lambda: theirs(stock), TARGET)},
        rounds=7 if quick else 15,
    )
    return Results(machine=this_machine("torch", "diffusers", "transformers"), comparisons=tuple(rows))


def ours(pipeline: Any) -> NDArray[np.uint8]:
    """Make the picture with our rows."""
    rows = pipeline.admit(GENERATION)
    while rows[0].evaluations_left:
        pipeline.advance(rows)
    return pipeline.picture(rows[0])


def theirs(stock: Any) -> NDArray[np.uint8]:
    """Make it with one call of the stock pipeline."""
    generator = torch.Generator().manual_seed(SEED)
    size = {"height": SIDE, "width": SIDE}
    made = stock(PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator, **size)
    return np.asarray(made.images[0])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="7 rounds instead of 15")
    results = measure(quick=parser.parse_args().quick)
    print_table(results.comparisons)
    print(f"written to {write_json('lone_request', results)}")


if __name__ == "__main__":
    main()
