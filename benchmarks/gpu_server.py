"""The server itself on the device: a real process, the official SDK, the pictures judged by what they show."""

import base64
import io
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import openai
from PIL import Image

from gpu_profile import Profile
from gpu_report import Line, judged
from server_process import ServerProcess, start_server
from shapes_oracle import Scene, Seen, classify, random_scenes

SECTION = "server"
MODEL = "imagegen/shapes"
SIDE = 128
SEED = 5000
CLIENTS = 8
SCENES = random_scenes(2024, CLIENTS)
"""Each of them the embedded model paints as asked with its seed, on a CPU in float32."""

_START_SECONDS = 120


def check(profile: Profile) -> Iterator[Line]:
    """Start a server on the device and use it as eight clients do at once."""
    with start_server("--device", profile.device) as server:
        server.wait_ready(profile.ready_seconds)
        yield _device_line(server, profile)
        yield pictures_line(SCENES, ask(server, SCENES))


def ask(server: ServerProcess, scenes: Sequence[Scene]) -> list[Seen]:
    """Return what the pictures show that as many clients get who ask at the same moment."""
    together = threading.Barrier(len(scenes))

    def picture(index: int) -> Seen:
        with server.client() as client:
            together.wait(_START_SECONDS)
            return _picture(client, scenes[index].prompt, SEED + index)

    with ThreadPoolExecutor(len(scenes)) as threads:
        return list(threads.map(picture, range(len(scenes))))


def pictures_line(scenes: Sequence[Scene], seen: Sequence[Seen]) -> Line:
    """Judge the pictures: every one must show what was asked for."""
    right = sum(found.matches(scene) for scene, found in zip(scenes, seen, strict=True))
    return Line(
        section=SECTION,
        what=f"{len(scenes)} SDK clients at once, background, colour and shape as asked",
        figure=f"{right} of {len(scenes)}",
        wanted="all",
        verdict=judged(correct=right == len(scenes)),
        values={"right": right},
    )


def _picture(client: openai.OpenAI, prompt: str, seed: int) -> Seen:
    reply = client.images.generate(
        prompt=prompt,
        model=MODEL,
        size=f"{SIDE}x{SIDE}",  # pyright: ignore[reportArgumentType] - the SDK lists OpenAI's own sizes only
        extra_body={"seed": seed},
    )
    encoded = reply.data[0].b64_json if reply.data else None
    return classify(Image.open(io.BytesIO(base64.b64decode(encoded or ""))))


def _device_line(server: ServerProcess, profile: Profile) -> Line:
    models = {model["id"]: model for model in server.get("/v1/models").json()["data"]}
    device, dtype = (models[MODEL][name] for name in ("device", "dtype"))
    return Line(
        section=SECTION,
        what="/v1/models says where the model is",
        figure=f"{device}, {dtype}",
        wanted=profile.device,
        verdict=judged(correct=device == profile.device),
    )
