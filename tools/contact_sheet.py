"""Makes the README's contact sheet from a running server: `python tools/contact_sheet.py URL FILE`."""

import base64
import io
import sys
from pathlib import Path

import openai
from PIL import Image

PROMPTS = (
    "a red circle on a blue background",
    "a yellow star on a black background",
    "a green triangle on a white background",
    "a pink heart on a purple background",
    "a large white ring on a red background",
    "a small black square at the top left on a cyan background",
    "an orange moon on a black background",
    "a blue diamond on a yellow background",
    "a red circle and a blue square on a white background",
    "a yellow star above a green cross on a black background",
    "a huge cyan circle on an orange background",
    "a photo of a white cross on a green background, 4k",
)
COLUMNS = 6
SIDE = 256


def main(url: str, target: Path) -> None:
    """Ask for one picture a prompt and paste them in rows."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(PROMPTS) // COLUMNS) * SIDE))
    for number, prompt in enumerate(PROMPTS):
        reply = client.images.generate(
            model="imagegen/shapes",
            prompt=prompt,
            extra_body={"size": f"{SIDE}x{SIDE}", "seed": number, "num_inference_steps": 10},
        )
        for data in reply.data or []:
            picture = Image.open(io.BytesIO(base64.b64decode(data.b64_json or "")))
            sheet.paste(picture, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
