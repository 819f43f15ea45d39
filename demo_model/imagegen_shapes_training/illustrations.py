"""Makes the pictures of docs/demo-model.md: ``python -m imagegen_shapes_training.illustrations [PIPELINE_FOLDER]``."""

import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray

from imagegen_shapes import WEIGHTS
from imagegen_shapes_training import contact_sheet, vae
from imagegen_shapes_training.compositions import Mix, composition
from imagegen_shapes_training.drawing import as_inputs
from imagegen_shapes_training.painter import Painter

TARGET = Path(__file__).parents[2] / "docs" / "images"

LIMITS = (
    "an astronaut riding a horse",
    "three red circles on a white background",
    "a brown triangle on a white background",
    "a red circle inside a blue ring on a black background",
    "a small yellow star and a large green heart on a white background",
    "a square",
)

_PIXELS = 96
_SEED = 1


def main(folder: Path) -> None:
    """Write four small PNGs, painted by the pipeline in ``folder``."""
    painter = Painter(folder)
    sheets = {
        "data": contact_sheet.pasted(_samples(12), contact_sheet.COLUMNS),
        "vae": contact_sheet.pasted(_autoencoded(folder), contact_sheet.COLUMNS),
        "sheet": contact_sheet.painted(painter),
        "limits": contact_sheet.painted(painter, LIMITS),
    }
    for name, sheet in sheets.items():
        contact_sheet.save(sheet, TARGET / f"demo-model-{name}.png")


def _samples(count: int) -> list[NDArray[np.uint8]]:
    mix = Mix(empty=0, pairs=0.3)
    return [np.rint(composition("docs", index, mix).drawn(_PIXELS)).astype(np.uint8) for index in range(count)]


def _autoencoded(folder: Path) -> list[NDArray[np.uint8]]:
    """Return three rows: drawn, through the untrained autoencoder, through the trained one."""
    torch.manual_seed(_SEED)
    trained = AutoencoderTiny.from_pretrained(str(folder / "vae"), dtype=torch.float32)
    drawn = torch.from_numpy(as_inputs([each.astype(np.float32) for each in _samples(contact_sheet.COLUMNS)]))
    rows = torch.cat([drawn, vae.restore(vae.build(), drawn), vae.restore(trained, drawn)])
    return list(((rows + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
