"""The server's pictures are diffusers' own: the same arguments and seed give the same picture, to one uint8 level.

One server holds all the models; the oracle (stock_pipelines.py) runs in the test's process and shares no code with it.
"""

import base64
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import tiny_pipelines
from conftest import Show
from imagegen_contract.samplers import PRESETS
from imagegen_shapes import WEIGHTS
from server_process import ServerProcess, start_server
from stock_pipelines import Pixels, StockPipeline, quiet_and_small

pytestmark = pytest.mark.slow

SHAPES_XL = Path(__file__).parent.parent / "data" / "shapes-xl"
PROMPT = "a red circle on a blue background"
SUFFIX, NEGATIVE = ", a green star, best quality", "a yellow ring, low quality"
"""What one of the entries adds to every prompt, and its default negative prompt."""

MODELS = {
    "embedded": "embedded model",
    "embedded-xl": "its SDXL twin",
    "sd": "random SD 1.4",
    "sdxl": "random SDXL",
    "sdxl-turbo": "random SDXL Turbo",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in the terms of the API; None leaves a field out."""

    prompt: str = PROMPT
    negative: str | None = None
    seed: int = 7
    n: int = 1
    size: str = "64x64"
    steps: int = 4
    guidance: float = 5.0
    scheduler: str | None = None

    def body(self, model: str) -> dict[str, Any]:
        """Return the request's body."""
        fields = {
            "model": model,
            "prompt": self.prompt,
            "negative_prompt": self.negative,
            "seed": self.seed,
            "n": self.n,
            "size": self.size,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "scheduler": self.scheduler,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def stock(self, pipeline: StockPipeline) -> list[Pixels]:
        """Return what diffusers paints for it."""
        return pipeline.pictures(
            self.prompt,
            negative=self.negative,
            seeds=range(self.seed, self.seed + self.n),
            size=self.size,
            steps=self.steps,
            guidance=self.guidance,
            scheduler=self.scheduler,
        )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """Return where the weights of each model are; what prints is silent as long as this module's tests run."""
    made = tmp_path_factory.mktemp("weights")
    with quiet_and_small():
        yield {
            "embedded": WEIGHTS,
            "embedded-xl": SHAPES_XL,
            "sd": tiny_pipelines.save(tiny_pipelines.stable_diffusion(flags=False), made / "sd"),
            "sdxl": tiny_pipelines.save(tiny_pipelines.stable_diffusion_xl(), made / "sdxl"),
            "sdxl-turbo": tiny_pipelines.save(tiny_pipelines.sdxl_turbo(), made / "sdxl-turbo"),
        }


@pytest.fixture(scope="module")
def painter(folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Return a server that holds every model."""
    sources = {name: f"file://{folder}" for name, folder in folders.items()} | {"embedded": "builtin://shapes"}
    entries = [entry(name, source, steps=4) for name, source in sources.items()]
    # Like animagine-xl: quality tags behind every prompt, a default negative prompt, a sampler and size of its own.
    entries.append(
        entry(
            "tagged",
            sources["sdxl"],
            steps=3,
            guidanceScale=4.0,
            size="72x64",
            scheduler="euler_a",
            promptSuffix=SUFFIX,
            negativePrompt=NEGATIVE,
        )
    )
    catalog = tmp_path_factory.mktemp("catalog") / "models.json"
    catalog.write_text(json.dumps(entries))
    models = ",".join(item["id"] for item in entries)
    flags = ("--catalog", str(catalog), "--load", models, "--default-model", "embedded", "--cpu-threads", "1")
    with start_server(*flags) as running:
        running.wait_ready()
        yield running


def entry(name: str, source: str, **inference: Any) -> dict[str, Any]:
    return {
        "publisher": "test",
        "family": "test",
        "version": "1",
        "id": name,
        "source": source,
        "inference": inference,
        "gpu": {"count": 0},
    }


@pytest.fixture(scope="module")
def stock(folders: Mapping[str, Path]) -> Mapping[str, StockPipeline]:
    """Return diffusers' own pipeline of each model."""
    return {name: StockPipeline(folder) for name, folder in folders.items()}


def answer(server: ServerProcess, body: Mapping[str, Any]) -> dict[str, Any]:
    reply = server.post(body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def pictures(reply: Mapping[str, Any]) -> list[Pixels]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data["b64_json"])))) for data in reply["data"]]


def difference(found: list[Pixels], expected: list[Pixels]) -> int:
    """Return the largest difference in uint8 levels; 255 where number or size of the pictures differ."""
    if [image.shape for image in found] != [image.shape for image in expected]:
        return 255
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True))


class Comparison:
    """Pictures of a server beside those of the stock pipeline."""

    def __init__(self, server: ServerProcess, model: str, stock: StockPipeline) -> None:
        self._server, self._model, self._stock = server, model, stock
        self._differences: dict[Case, int] = {}
        self._subpixels = self._unequal = 0

    def check(self, *cases: Case) -> str:
        """Paint every case on both sides; fail unless they are equal, else return the figures.

        One level is what the arithmetic of another batch size may move a subpixel that lies between two levels, so it
        is also few of them that may differ.
        """
        for case in cases:
            found, expected = pictures(answer(self._server, case.body(self._model))), case.stock(self._stock)
            self._differences[case] = difference(found, expected)
            self._subpixels += sum(image.size for image in expected)
            self._unequal += sum(int((a != b).sum()) for a, b in zip(found, expected, strict=True))
        assert {case: levels for case, levels in self._differences.items() if levels > 1} == {}
        share = self._unequal / self._subpixels
        assert share < 0.005
        count, largest = sum(case.n for case in cases), max(self._differences.values())
        return f"{count} pictures, largest difference {largest} of 255, in {100 * share:.3f} % of the subpixels"


@pytest.fixture(params=list(MODELS))
def compared(request: pytest.FixtureRequest, painter: ServerProcess, stock: Mapping[str, StockPipeline]) -> Comparison:
    return Comparison(painter, request.param, stock[request.param])


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["compared"]


@pytest.mark.acceptance
def test_every_preset_with_and_without_guidance(compared: Comparison, show: Show, model: str) -> None:
    cases = [Case(scheduler=preset, guidance=guidance) for preset in PRESETS for guidance in (5.0, 1.0)]
    show(f"4 stock equality, 9 presets, guidance on and off: {MODELS[model]}", compared.check(*cases))


@pytest.mark.acceptance
def test_sizes_steps_and_several_images(compared: Comparison, show: Show, model: str) -> None:
    figures = compared.check(
        Case(size="128x128"),
        Case(size="96x64", scheduler="dpmpp_2m_karras"),
        Case(size="64x104", guidance=0.0),  # 13 latents high: no level of the UNet halves them evenly
        Case(size="72x88", scheduler="heun", n=2),
        Case(n=3, scheduler="euler_a", guidance=1.0),
        Case(n=4, scheduler="lcm"),
        Case(n=2, seed=2**53 - 2, scheduler="pndm"),
        Case(steps=1, guidance=0.0),
        Case(steps=1),
        Case(steps=1, scheduler="heun", guidance=0.0),
        Case(steps=17, scheduler="unipc"),
        Case(steps=30, scheduler="dpmpp_2m", guidance=9.5),
        Case(),
    )
    show(f"4 stock equality, sizes, steps, n: {MODELS[model]}", figures)


TWO_WINDOWS = ", ".join(["a red circle", "a blue star", "two green rings", "an old moon"] * 6)
THREE_WINDOWS = ", ".join(["a white heart", "the black diamond"] * 20)
FOUR_WINDOWS = ", ".join(["a purple cross", "a white heart", "the black diamond"] * 24)


def test_the_long_prompts_take_as_many_windows_as_their_names_say(stock: Mapping[str, StockPipeline]) -> None:
    counts = [stock["embedded"].windows(text) for text in (PROMPT, TWO_WINDOWS, THREE_WINDOWS, FOUR_WINDOWS)]
    assert counts == [1, 2, 3, 4]


@pytest.mark.acceptance
def test_prompts_of_several_windows_and_negative_prompts(compared: Comparison, show: Show, model: str) -> None:
    figures = compared.check(
        Case(negative="a yellow ring"),
        Case(negative=""),
        Case(prompt=TWO_WINDOWS),
        Case(prompt=TWO_WINDOWS, guidance=1.0),
        Case(prompt=TWO_WINDOWS, negative=""),
        Case(prompt=TWO_WINDOWS, negative="a yellow ring"),
        Case(prompt=TWO_WINDOWS, negative=FOUR_WINDOWS),
        Case(prompt=THREE_WINDOWS, negative=TWO_WINDOWS),
        Case(prompt=FOUR_WINDOWS, n=2, scheduler="dpmpp_2m"),
        Case(prompt="!", negative=THREE_WINDOWS),
    )
    show(f"4 stock equality, long prompts and negative prompts: {MODELS[model]}", figures)


def test_an_entrys_suffix_negative_prompt_sampler_and_size_are_the_defaults(
    painter: ServerProcess, stock: Mapping[str, StockPipeline]
) -> None:
    reply = answer(painter, {"model": "tagged", "prompt": f"  {PROMPT} ", "seed": 3})
    case = Case(
        prompt=PROMPT + SUFFIX, negative=NEGATIVE, seed=3, size="72x64", steps=3, guidance=4.0, scheduler="euler_a"
    )
    assert difference(pictures(reply), case.stock(stock["sdxl"])) <= 1
    assert reply["data"][0]["revised_prompt"] == PROMPT + SUFFIX
    assert reply["size"] == "72x64"


@pytest.mark.parametrize(
    ("fields", "case"),
    [
        pytest.param({"negative_prompt": "a moon"}, Case(negative="a moon", guidance=4.0), id="a negative prompt"),
        pytest.param({"negative_prompt": ""}, Case(negative="", guidance=4.0), id="an empty negative prompt"),
        pytest.param({"guidance_scale": 1.0}, Case(guidance=1.0), id="no guidance, so no negative prompt either"),
        pytest.param(
            {"scheduler": "DDIMScheduler"}, Case(negative=NEGATIVE, guidance=4.0, scheduler="ddim"), id="class"
        ),
    ],
)
def test_what_a_request_says_wins_over_the_entry(
    painter: ServerProcess, stock: Mapping[str, StockPipeline], fields: dict[str, Any], case: Case
) -> None:
    reply = answer(painter, {"model": "tagged", "prompt": PROMPT, "seed": 3, "size": "64x64", **fields})
    expected = msgspec.structs.replace(
        case, prompt=PROMPT + SUFFIX, seed=3, steps=3, scheduler=case.scheduler or "euler_a"
    )
    assert difference(pictures(reply), expected.stock(stock["sdxl"])) <= 1


BASE = Case(scheduler="ddim")
CHANGES = {
    "prompt": {"prompt": "a yellow star"},
    "negative prompt": {"negative": "a blue circle"},
    "guidance": {"guidance": 6.0},
    "no guidance": {"guidance": 1.0},
    "steps": {"steps": 5},
    "seed": {"seed": 8},
    "sampler": {"scheduler": "euler_a"},
    "the words of a prompt's second window": {"prompt": TWO_WINDOWS.replace("old", "purple")},
}


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize("name", ["sd", "sdxl", "sdxl-turbo"])
def test_the_random_models_show_every_input(stock: Mapping[str, StockPipeline], name: str, change: str) -> None:
    """Equality with them would mean nothing if a wrong input could hide."""
    start = msgspec.structs.replace(BASE, prompt=TWO_WINDOWS) if "window" in change else BASE
    one, other = (case.stock(stock[name]) for case in (start, msgspec.structs.replace(start, **CHANGES[change])))
    assert one[0].std() > 20
    assert difference(one, other) > 20


@pytest.mark.parametrize("name", ["sdxl", "sdxl-turbo"])
def test_no_negative_prompt_and_an_empty_one_differ_where_the_weights_say_so(
    stock: Mapping[str, StockPipeline], name: str
) -> None:
    empty = msgspec.structs.replace(BASE, negative="")
    assert difference(BASE.stock(stock[name]), empty.stock(stock[name])) > 20
