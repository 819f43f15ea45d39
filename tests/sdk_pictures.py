"""Pictures of the embedded model, made by the official SDK and judged by what they show."""

import base64
import io
from collections.abc import Iterable

import openai
from PIL import Image

from shapes_oracle import Scene, classify

MODEL = "imagegen/shapes"


def right_pictures(client: openai.OpenAI, scenes: Iterable[Scene], model: str = MODEL) -> int:
    """Return of how many scenes the picture has background and colour right."""
    right = 0
    for seed, scene in enumerate(scenes):
        images = client.images.generate(model=model, prompt=scene.prompt, size="128x128", extra_body={"seed": seed})  # pyright: ignore[reportArgumentType] - the SDK's type lists OpenAI's own sizes
        seen = classify(Image.open(io.BytesIO(base64.b64decode((images.data or [])[0].b64_json or ""))))
        right += (seen.background, seen.colour) == (scene.background, scene.colour)
    return right
