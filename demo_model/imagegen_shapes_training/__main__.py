"""Trains the embedded model from nothing, looks at what it paints, and may install it: see docs/demo-model.md."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from diffusers.utils import logging as diffusers_logging
from transformers import logging as transformers_logging

from imagegen_shapes import WEIGHTS
from imagegen_shapes_training import contact_sheet, packing, stages, vae
from imagegen_shapes_training.checkpoints import OtherRecipeError
from imagegen_shapes_training.evaluation import Score, Setting, score, table
from imagegen_shapes_training.painter import Painter
from imagegen_shapes_training.progress import StageFailedError
from imagegen_shapes_training.recipe import FULL, QUICK, EvaluationRecipe

OUT = Path(__file__).parents[1] / "out"
TWIN_TARGET = Path(__file__).parents[2] / "tests" / "data" / "shapes-xl"

JUDGED = Setting(pixels=128, steps=8)
LARGE = Setting(pixels=256, steps=10)


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the model is good enough, 1 when it is not or a stage failed."""
    options = _options(arguments)
    _be_quiet()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.quick:
        # A minute's work is done anew, so that every stage really runs.
        shutil.rmtree(options.out, ignore_errors=True)
    recipe = QUICK if options.quick else FULL
    try:
        stages.train(recipe, options.out)
        shortfalls = _evaluate(options.out, recipe.evaluation)
    except (OtherRecipeError, StageFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    for shortfall in shortfalls:
        print(shortfall, file=sys.stderr)
    if options.install and not shortfalls:
        _install(options.out)
    return 1 if shortfalls else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m imagegen_shapes_training", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every stage in about a minute; paints fog")
    parser.add_argument("--install", action="store_true", help="replace the shipped weights and the test data")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch (default: its own choice, quick: 1)")
    parser.add_argument("--out", type=Path, help=f"folder for all that is made (default: {OUT}, quick: in it)")
    options = parser.parse_args(arguments)
    if options.quick and options.install:
        parser.error("--quick paints fog, which is not installed; leave one of --quick and --install out")
    # One thread for the quick form: two that share their cores with others wait for each other most of the time.
    options.threads = options.threads or (1 if options.quick else 0)
    options.out = options.out or (OUT / "quick" if options.quick else OUT)
    return options


def _be_quiet() -> None:
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _evaluate(out: Path, recipe: EvaluationRecipe) -> list[str]:
    """Print what the parts and the whole reached, write the sheet, and return what is not good enough."""
    painter, twin = Painter(out / stages.PIPELINE), Painter(out / stages.TWIN)
    judged = [
        score("shapes", painter, JUDGED, recipe.prompts),
        score("shapes-xl", twin, JUDGED, recipe.prompts),
    ]
    _print_figures(out, [*judged, score("shapes", painter, LARGE, recipe.large_prompts)])
    contact_sheet.save(contact_sheet.painted(painter), out / "contact-sheet.png")
    print(f"pipelines and contact-sheet.png are in {out}")
    return [line for each in judged for line in each.shortfalls(recipe.thresholds)]


def _print_figures(out: Path, scores: list[Score]) -> None:
    shipped = AutoencoderTiny.from_pretrained(str(out / stages.PIPELINE / "vae"), dtype=torch.float32)
    psnr = ", ".join(
        f"{vae.psnr(shipped, pixels, count):.1f} at {pixels} px" for pixels, count in ((128, 32), (256, 8))
    )
    right = json.loads((out / "text_encoder" / "right.json").read_text())
    heads = ", ".join(f"{name} {100 * share:.0f}" for name, share in right.items())
    print(f"\nvae, PSNR in dB: {psnr}\ntext encoder, % right: {heads}\n\n{table(scores)}\n")


def _install(out: Path) -> None:
    for packed, target in ((out / stages.PIPELINE, WEIGHTS), (out / stages.TWIN, TWIN_TARGET)):
        packing.install(packed, target)
        print(f"installed {packed} as {target}")


if __name__ == "__main__":
    sys.exit(main())
